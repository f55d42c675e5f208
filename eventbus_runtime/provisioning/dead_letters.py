"""Where dead letters are stored: found or made, and refused where one could be lost (the rules on dead letters)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.questions import ask, streams_storing
from eventbus_runtime.config.objects import StreamConfig, safe_name
from eventbus_runtime.errors import NotFoundError, TopologyError
from eventbus_runtime.provisioning.topology import Changed, ensure_stream
from eventbus_runtime.subjects import any_covers

_LEAST_WINDOW: Final = 120.0


def dead_letter_stream(trigger: str, subject: str, ack_wait: float, longest_delay: float) -> tuple[str, StreamConfig]:
    """The stream that a dead-letter subject gets when no other stores it: its name, and its declaration.

    Args:
        trigger: the trigger's name.
        subject: its dead-letter subject.
        ack_wait: the consumer's, in seconds.
        longest_delay: the longest of the trigger's retry delays, in seconds.
    """
    config = StreamConfig.model_validate(
        {
            "description": f"Dead letters of the trigger {trigger}",
            "subjects": (subject,),
            "duplicate_window": max(_LEAST_WINDOW, _needed_window(ack_wait, longest_delay)),
        }
    )
    return f"DEAD_{safe_name(trigger).upper()}", config


async def check_dead_letter(
    bus: Bus,
    *,
    trigger: str,
    subject: str,
    stream: str,
    filter_subjects: Sequence[str],
    ack_wait: float,
    longest_delay: float,
    declared: tuple[str, StreamConfig] | None,
    note: Callable[[str, Changed], None],
) -> tuple[str, list[str]]:
    """Find the stream that stores a dead-letter subject, or make the declared one, and check that it can.

    Args:
        bus: the trigger's bus.
        trigger: the trigger's name, for texts.
        subject: its dead-letter subject.
        stream: the stream that it consumes.
        filter_subjects: its consumer's filters; none: all of the stream.
        ack_wait: the consumer's, in seconds.
        longest_delay: the longest of the trigger's retry delays, in seconds.
        declared: the stream to make if none stores the subject, as `dead_letter_stream` gives it; None: make none.
        note: is told what was done to which stream.

    Returns:
        The stream's name, for `Nats-Expected-Stream`, and warnings for the operator.

    Raises:
        TopologyError: no stream stores the subject, or the one that does could lose or loop a dead letter.
        NotFoundError: that stream was deleted at this very moment.
        BusUnavailableError: no answer.
    """
    where = place(trigger, subject)
    names = await streams_storing(bus, subject)
    if not names:
        if declared is None:
            raise TopologyError(unstored(where))
        names = [declared[0]]
        present, origin = await _config(bus, declared[0]), await _config(bus, stream)
        changed = await ensure_stream(bus, declared[0], fitted(declared[1], present, origin))
        note(f"stream {declared[0]}", changed)
    name: str = names[0]
    config = (await ask(bus, f"STREAM.INFO.{name}"))["config"]
    looping = name == stream and any_covers(filter_subjects or (">",), subject)
    if text := problem(config, where, name, looping=looping):
        raise TopologyError(text)
    return name, list(doubts(config, where, name, ack_wait, longest_delay))


def place(trigger: str, subject: str) -> str:
    """How texts name a dead-letter subject."""
    return f'the dead_letter "{subject}" of the trigger {trigger}'


def unstored(where: str) -> str:
    """What to say of a dead-letter subject, as `place` names it, that no stream stores and none is to be made for."""
    return f"no stream stores {where}: declare one with this subject, or leave out declare_dead_letter = false"


def fitted(config: StreamConfig, present: Mapping[str, Any] | None, origin: Mapping[str, Any] | None) -> StreamConfig:
    """The stream to make, with as many replicas as its origin; if it is there already, with its present subjects.

    One of this name may hold the dead letters of an earlier subject, or of a trigger with a like name.

    Args:
        config: as `dead_letter_stream` gives it.
        present: what the server has of this name, in its JSON.
        origin: likewise, of the stream that the trigger consumes.
    """
    if present is not None:
        return config.model_copy(update={"subjects": (*present.get("subjects", ()), *config.subjects)})
    replicas = (origin or {}).get("num_replicas", 1)
    return config.model_copy(update={"num_replicas": replicas}) if replicas > 1 else config


async def _config(bus: Bus, stream: str) -> dict[str, Any] | None:
    try:
        config: dict[str, Any] = (await ask(bus, f"STREAM.INFO.{stream}"))["config"]
    except NotFoundError:
        return None
    return config


def problem(config: Mapping[str, Any], where: str, name: str, *, looping: bool) -> str:
    """What makes stream `name` lose the dead letters of `where`, or loop them; empty if nothing does."""
    text = _problem(config, looping=looping)
    return text and f"{where} goes to the stream {name}, {text}"


def _problem(config: Mapping[str, Any], *, looping: bool) -> str:
    if looping:
        return "and this trigger would get its own dead letters from there: use a subject outside its filter_subjects"
    if config["retention"] == "interest":
        return 'which drops at once what no consumer wants: give it retention = "limits", or use another stream'
    if config.get("no_ack"):
        return (
            "which confirms nothing, so that nobody would know of a lost one: unset its no_ack, or use another stream"
        )
    if (kept := config.get("max_msgs_per_subject", -1)) > 0:
        return (
            f"which keeps {kept} messages of each subject (max_msgs_per_subject), and dead letters share one subject: "
            "lift that limit, or use another stream"
        )
    return ""


def doubts(config: Mapping[str, Any], where: str, name: str, ack_wait: float, longest_delay: float) -> Iterable[str]:
    """What may make stream `name` lose or double the dead letters of `where` some day. Times in seconds."""
    for text in _doubts(config, where, _needed_window(ack_wait, longest_delay)):
        yield f"the stream {name}, {text}"


def _doubts(config: Mapping[str, Any], where: str, needed_window: float) -> Iterable[str]:
    limits = [f"{field} = {config[field]}" for field in ("max_msgs", "max_bytes") if config.get(field, -1) > 0]
    if limits and config["discard"] == "old":
        yield f"which stores {where}, deletes the oldest at its limit ({', '.join(limits)}): dead letters can be lost"
    window = config.get("duplicate_window", 0) / 10**9
    if window < needed_window:
        yield (
            f"which stores {where}, remembers ids for {window:g} s (duplicate_window): below {needed_window:g} s, "
            "twice the longest time between two deliveries, a dead letter can be stored twice"
        )


def _needed_window(ack_wait: float, longest_delay: float) -> float:
    return 2 * (ack_wait + longest_delay)
