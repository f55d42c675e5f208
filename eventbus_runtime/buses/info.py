"""What CONSUMER.INFO says, as far as a trigger must know it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Self

from eventbus_runtime.errors import BusUnavailableError

# Seconds. Before 2.12 a server that was restarted says of a consumer of its own that it was created 0.1 to 0.3 ms later
# than it said before: what it writes down has a time of its own (server/filestore.go, ConsumerStore).
_SAME_BIRTH = 0.005


class ConsumerInfo(NamedTuple):
    """One answer of CONSUMER.INFO. Durations in seconds; limits are 0 when the consumer sets none."""

    stream: str
    name: str
    created: datetime
    is_push: bool
    ack_policy: str
    ack_wait: float
    backoff: tuple[float, ...]
    max_deliver: int
    max_ack_pending: int
    max_waiting: int
    max_batch: int
    max_expires: float
    max_bytes: int
    filter_subjects: tuple[str, ...]
    num_pending: int
    num_ack_pending: int
    delivered: int
    ack_floor: int
    opt_start_seq: int
    num_replicas: int
    paused: bool

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> ConsumerInfo:
        """Read the API's JSON; fields that an older server leaves out get what they mean there.

        Raises:
            BusUnavailableError: it tells nothing of the consumer: 2.9 does so while that is being deleted.
        """
        config = answer.get("config")
        if config is None:
            raise BusUnavailableError("JetStream answered, but told nothing of the consumer")
        one = config.get("filter_subject")
        return cls(
            stream=answer["stream_name"],
            name=answer["name"],
            created=datetime.fromisoformat(answer["created"]),
            is_push=bool(config.get("deliver_subject")),
            ack_policy=config.get("ack_policy", "none"),
            ack_wait=config.get("ack_wait", 30 * 10**9) / 10**9,
            backoff=tuple(step / 10**9 for step in config.get("backoff") or ()),
            max_deliver=config.get("max_deliver", -1),
            max_ack_pending=config.get("max_ack_pending", 0),
            max_waiting=config.get("max_waiting", 0),
            max_batch=config.get("max_batch", 0),
            max_expires=config.get("max_expires", 0) / 10**9,
            max_bytes=config.get("max_bytes", 0),
            filter_subjects=tuple(config.get("filter_subjects") or ([one] if one else ())),
            num_pending=answer.get("num_pending", 0),
            num_ack_pending=answer.get("num_ack_pending", 0),
            delivered=(answer.get("delivered") or {}).get("stream_seq", 0),
            ack_floor=(answer.get("ack_floor") or {}).get("stream_seq", 0),
            opt_start_seq=config.get("opt_start_seq", 0),
            num_replicas=config.get("num_replicas", 0) or len((answer.get("cluster") or {}).get("replicas") or ()) + 1,
            paused=bool(answer.get("paused", False)),
        )

    def is_anew(self, before: Self) -> bool:
        """Whether it is another consumer of that name than `before`, which was there earlier."""
        return abs((self.created - before.created).total_seconds()) > _SAME_BIRTH

    @property
    def shortest_window(self) -> float:
        """Seconds after which, at the earliest, the server delivers again what is not settled."""
        return min(self.backoff or (self.ack_wait,))

    def window(self, delivery_count: int) -> float:
        """Seconds until the server delivers again what is not settled (the `backoff` step, where there are steps)."""
        if not self.backoff:
            return self.ack_wait
        return self.backoff[min(delivery_count - 1, len(self.backoff) - 1)]
