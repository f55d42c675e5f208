"""Decoding and encoding: what a handler gets from a payload, and what a `Publish` becomes."""

import dataclasses
import json
import sys
import typing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from eventbus_runtime.errors import BindingError, DecodeError
from eventbus_runtime.pipelines.decoding import decoder
from eventbus_runtime.pipelines.encoding import encode

BODY = b'{"id": "A1", "total": 9.5}'


class Model(BaseModel):
    id: str
    total: float


@dataclasses.dataclass
class Data:
    id: str
    total: float


class Typed(typing.TypedDict):
    id: str
    total: float


class ExtensionTyped(typing_extensions.TypedDict):
    id: str
    total: float


class Struct(msgspec.Struct):
    id: str
    total: float


class Line(typing.TypedDict):
    sku: str
    count: typing.NotRequired[int]


class Basket(typing.TypedDict, total=False):
    lines: typing.Required[list[Line]]
    gift: Line | None


class Tree(typing.TypedDict):
    children: "list[Tree]"


class Unfinished(BaseModel):
    other: "NowhereDefined"  # type: ignore[name-defined]  # noqa: F821


class Broken(msgspec.Struct):
    other: "NowhereDefined"  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (Model, Model(id="A1", total=9.5)),
        (Data, Data("A1", 9.5)),
        (Typed, {"id": "A1", "total": 9.5}),
        (ExtensionTyped, {"id": "A1", "total": 9.5}),
        (Struct, Struct("A1", 9.5)),
        (Struct | None, Struct("A1", 9.5)),
        (Model | list[Model], Model(id="A1", total=9.5)),
        (dict, {"id": "A1", "total": 9.5}),
        (dict[str, Any], {"id": "A1", "total": 9.5}),
        (Any, {"id": "A1", "total": 9.5}),
        (str, BODY.decode()),
        (bytes, BODY),
    ],
)
def test_a_payload_becomes_the_type_that_the_handler_asks_for(wanted: Any, value: Any) -> None:
    assert decoder(wanted)(BODY) == value


@pytest.mark.parametrize(
    ("wanted", "payload", "value"),
    [
        (list[Model], b'[{"id": "A", "total": 1}]', [Model(id="A", total=1)]),
        (list[Struct], b'[{"id": "A", "total": 1}]', [Struct("A", 1)]),
        (list, b"[1, 2]", [1, 2]),
        (int, b"7", 7),
        (datetime, b'"2026-01-02T03:04:05Z"', datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (Annotated[int, Field(gt=0)], b"7", 7),
        (str, "grüß dich".encode(), "grüß dich"),
        (bytes, b"", b""),
        (str, b"", ""),
    ],
)
def test_other_types_are_read_too(wanted: Any, payload: bytes, value: Any) -> None:
    assert decoder(wanted)(payload) == value


def test_a_typed_dict_within_a_typed_dict_keeps_what_is_required() -> None:
    read = decoder(Basket)
    assert read(b'{"lines": [{"sku": "a"}], "gift": null}') == {"lines": [{"sku": "a"}], "gift": None}
    assert read(b'{"lines": []}') == {"lines": []}
    for wrong in (b"{}", b'{"lines": [{"count": 1}]}'):
        with pytest.raises(DecodeError, match="lines"):
            read(wrong)


@pytest.mark.parametrize(
    ("wanted", "payload", "text"),
    [
        (Model, b'{"id": "A1", "total": "x"}', "the payload is no Model: total: Input should be a valid number"),
        (Model, b"{}", r"the payload is no Model: id: Field required \(and 1 more\)"),
        (Model, b"", "Invalid JSON: EOF"),
        (Model, b"\xff\xfe", "Invalid JSON"),
        (Model, b"[" * 10_000, "Invalid JSON: recursion limit"),
        (list[Model], b'[{"id": 5, "total": 1}]', "0.id: Input should be a valid string"),
        (dict, b"[]", "the payload is no dict"),
        (
            Struct,
            b'{"id": "A1", "total": "x"}',
            r"the payload is no Struct: Expected `float`, got `str` - at `\$.total`",
        ),
        (Struct, b"", "the payload is no Struct"),
        (Struct, b'{"id": "\xff", "total": 1}', "the payload is no Struct"),
        (Struct, b'{"x": ' + b"[" * 100_000, "the payload is no Struct"),
        (str, b"abc\xff", "not UTF-8 text: invalid start byte at byte 3"),
    ],
)
def test_what_does_not_decode_is_told_in_short(wanted: Any, payload: bytes, text: str) -> None:
    with pytest.raises(DecodeError, match=text) as caught:
        decoder(wanted)(payload)
    assert len(str(caught.value)) < 400


def test_a_decode_error_does_not_hold_the_payload() -> None:
    for wanted in (Model, Struct):
        with pytest.raises(DecodeError) as caught:
            decoder(wanted)(b'{"id": ["the secret"], "total": "the secret"}')
        assert "the secret" not in str(caught.value)


@pytest.mark.parametrize("wanted", [json.JSONDecoder, Unfinished, Broken, list[json.JSONDecoder]])
def test_a_type_that_nothing_can_read_is_refused_when_bound(wanted: Any) -> None:
    with pytest.raises(BindingError, match="can't read"):
        decoder(wanted)


def test_a_typed_dict_that_holds_itself_is_read_or_refused_with_the_cure() -> None:
    """pydantic reads it from Python 3.12 on."""
    if sys.version_info >= (3, 12):
        tree = {"children": [{"children": []}]}
        assert decoder(Tree)(json.dumps(tree).encode()) == tree
        with pytest.raises(DecodeError, match="children"):
            decoder(Tree)(b'{"children": [{}]}')
    else:
        with pytest.raises(BindingError, match="typing_extensions"):
            decoder(Tree)


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    order_id: str = Field(alias="orderId")


class Mixed(BaseModel):
    when: datetime


@pytest.mark.parametrize(
    ("payload", "wire"),
    [
        (b"\x00raw", b"\x00raw"),
        (bytearray(b"raw"), b"raw"),
        (memoryview(b"raw"), b"raw"),
        ("grüß", "grüß".encode()),
        (None, b""),
        (Model(id="A1", total=9.5), b'{"id":"A1","total":9.5}'),
        (Data("A1", 9.5), b'{"id":"A1","total":9.5}'),
        (Struct("A1", 9.5), b'{"id":"A1","total":9.5}'),
        ({"id": "A1", "at": datetime(2026, 1, 2, tzinfo=UTC)}, b'{"id":"A1","at":"2026-01-02T00:00:00Z"}'),
        (
            [Model(id="A", total=1), Struct("B", 2.0), Data("C", 3.0)],
            b'[{"id":"A","total":1.0},{"id":"B","total":2.0},{"id":"C","total":3.0}]',
        ),
        (Aliased(order_id="A1"), b'{"orderId":"A1"}'),
        ([Aliased(order_id="A1")], b'[{"orderId":"A1"}]'),
        ({"total": Decimal("9.50")}, b'{"total":"9.50"}'),
        (7, b"7"),
        (True, b"true"),
        ({"x": float("nan")}, b'{"x":null}'),
    ],
)
def test_a_payload_is_written_as_it_is_or_as_json(payload: Any, wire: bytes) -> None:
    written = encode(payload)
    assert written == wire
    assert type(written) is bytes


class Opaque: ...


@pytest.mark.parametrize(
    "payload",
    [Opaque(), {"x": Opaque()}, {"x": b"\xff"}, "\ud800", (_ for _ in [Opaque()]), Struct("x", Opaque())],  # type: ignore[arg-type]
)
def test_what_can_not_be_written_is_a_type_error_that_names_the_type(payload: Any) -> None:
    with pytest.raises(TypeError, match=f"a payload of type {type(payload).__qualname__} can't go on the wire"):
        encode(payload)


def test_a_circle_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(TypeError, match="can't go on the wire"):
        encode(circle)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.lists(json_values) | st.dictionaries(st.text(), json_values))
def test_what_one_handler_publishes_another_reads(value: Any) -> None:
    assert decoder(Any)(encode(value)) == value


@pytest.mark.parametrize(
    "value", [Aliased(order_id="A1"), Data("A1", 9.5), Struct("A1", 9.5), Mixed(when=datetime.now(UTC))]
)
def test_a_value_survives_publish_and_decode(value: Any) -> None:
    assert decoder(type(value))(encode(value)) == value


def test_msgspec_is_not_needed_by_whoever_does_not_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra: without it everything else is read and written all the same."""
    monkeypatch.delitem(sys.modules, "msgspec")
    monkeypatch.setitem(sys.modules, "msgspec", None)
    assert decoder(Model)(BODY) == Model(id="A1", total=9.5)
    assert encode({"a": 1}) == b'{"a":1}'
    with pytest.raises(TypeError):
        encode(Opaque())


def test_validators_that_fail_otherwise_are_the_users_own_errors() -> None:
    def fails(value: str) -> str:
        raise KeyError(value)

    with pytest.raises(KeyError):
        decoder(list[Annotated[str, AfterValidator(fails)]])(b'["a"]')
