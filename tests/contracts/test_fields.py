"""What is read of a contract's model, and that a model which protobuf has no place for is refused when it is read."""

from __future__ import annotations

from typing import Annotated

import pytest

from eventbus_runtime.contracts import Contract, Duration, StreamConfig
from eventbus_runtime.contracts.fields import Number, about, fields
from eventbus_runtime.contracts.model import AckRequest


def test_fields_come_in_the_order_of_their_numbers() -> None:
    class Backwards(Contract):
        second: Annotated[str, Number(2)] = ""
        first: Annotated[Duration | None, Number(1)] = None

    assert [(field.name, field.kind, field.repeated) for field in fields(Backwards)] == [
        ("first", "message", False),
        ("second", "string", False),
    ]


def test_a_list_and_a_description_are_told() -> None:
    subjects = fields(StreamConfig)[1]
    assert (subjects.kind, subjects.repeated, subjects.text) == ("string", True, "Subjects that it stores.")


def test_a_field_without_a_number_is_refused() -> None:
    class Bare(Contract):
        name: str = ""

    with pytest.raises(TypeError, match=r"^Bare\.name has no protobuf number$"):
        fields(Bare)


@pytest.mark.parametrize("held", [float, int, complex])
def test_a_type_without_a_place_is_refused(held: type) -> None:
    """An `int` that does not say how wide it is, too."""
    odd = type("Odd", (Contract,), {"__annotations__": {"n": Annotated[held, Number(1)]}, "n": held(0)})
    with pytest.raises(TypeError, match=r"^Odd\.n: .* has no place in a protobuf message$"):
        fields(odd)


def test_strangers_read_no_rule_numbers() -> None:
    assert about(AckRequest).endswith("so that nobody can be made to publish elsewhere.")
