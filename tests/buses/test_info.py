"""What the server says of a consumer."""

from __future__ import annotations

import pytest

from eventbus_runtime.buses.info import ConsumerInfo
from eventbus_runtime.errors import BusUnavailableError


def test_an_answer_that_tells_nothing_of_the_consumer_is_none() -> None:
    """nats-server 2.9 answered so, about once in 30 times, while the consumer was being deleted."""
    with pytest.raises(BusUnavailableError, match="told nothing of the consumer"):
        ConsumerInfo.parse({"type": "io.nats.jetstream.api.v1.consumer_info_response"})
