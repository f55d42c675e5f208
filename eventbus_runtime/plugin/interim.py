"""Stands in for what is being written elsewhere at the same time; goes as soon as that is there."""

from __future__ import annotations

from typing import Any


def held(trigger: Any, token: str) -> Any:
    return next((one for one in trigger._progress.deliveries if one.token == token.encode()), None)
