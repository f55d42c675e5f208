"""Log lines caught, and facts to log."""

from __future__ import annotations

import io
import json
from typing import Any

from eventbus_runtime.events import DeliveryFailed
from eventbus_runtime.frames import located
from eventbus_runtime.message import Message
from eventbus_runtime.observability.logging import Format, Level, configure

MESSAGE = Message.build("orders.created", stream="ORDERS", consumer="billing", sequence=7)
DELIVERY = {"trigger": "billing", "pipeline": "bill", "stream": "ORDERS", "consumer": "billing", "sequence": 7}


class Log(io.StringIO):
    """A stream that log lines go to."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal

    def lines(self) -> list[dict[str, Any]]:
        """What was logged since the last call."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return [json.loads(line) for line in text.splitlines()]


def configured(level: Level = "info", format: Format = "json") -> Log:  # noqa: A002 - as in configure
    log = Log()
    configure(level, format, log)
    return log


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - any error, with a traceback
        return caught


def failed(
    error: BaseException | None = None,
    *,
    reason: str = "error",
    settlement: str = "nak",
    text: str = "",
    delay: float | None = None,
    trigger: str = "billing",
    stuck: bool = False,
) -> DeliveryFailed:
    said = text or ("" if error is None else located(error))
    return DeliveryFailed(trigger, "bill", MESSAGE, 2, reason, said, settlement, delay, error, stuck)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now
