"""Streams and consumers as declared: created, updated where they differ and may change, else left alone.

Nothing is ever deleted, and where nothing differs nothing is sent but questions. What the server answers is compared
with what was asked, because servers up to 2.11 drop fields that they do not know without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

from eventbus_runtime.buses.base import Bus
from eventbus_runtime.buses.questions import ELECTION, ask, streams_storing
from eventbus_runtime.config.objects import ConsumerConfig, StreamConfig
from eventbus_runtime.errors import ApiError, BusUnavailableError, NotFoundError, TopologyError
from eventbus_runtime.provisioning.diff import Difference, diff_consumer, diff_stream, one_filter_field, own_metadata
from eventbus_runtime.provisioning.gates import ServerAge, since, unknown
from eventbus_runtime.provisioning.patience import PlacementError, unavailable
from eventbus_runtime.provisioning.shown import said

Config: TypeAlias = Mapping[str, Any]
"""A stream's or consumer's configuration in the server's JSON."""

_ROUNDS: Final = 3
# 10058: such a stream is there. 10013, 10105, 10148: such a consumer is.
_IS_THERE: Final = frozenset({10058, 10013, 10105, 10148})
_OVERLAP: Final = 10065


class Changed(StrEnum):
    """What was done about one object."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


_Request: TypeAlias = tuple[str, Config]


class _Declared(NamedTuple):
    """One object, and how the API is asked about it."""

    label: str
    table: str
    config: Config
    at_creation: Config
    info: str
    diff: Callable[[Config, Config], list[Difference]]
    create: Callable[[Config], _Request]
    update: Callable[[Config, Sequence[Difference]], list[_Request]]


async def ensure_stream(bus: Bus, name: str, config: StreamConfig) -> Changed:
    """Have stream `name` be as declared; with `declare = false`, have it be there.

    Raises:
        NotFoundError: it is attach-only and absent; worth looking for again.
        TopologyError: it can't be made so: the server refuses it, a field can't change or is not kept, or another
            stream stores its subjects.
        BusUnavailableError: no answer, or the server can't do it at present.
    """
    if not config.declare:
        return await _attach(bus, f"stream {name}", f"STREAM.INFO.{name}")
    fields = config.to_server(name)
    return await _ensure(
        bus,
        _Declared(
            label=f"stream {name}",
            table=f"[streams.{name}]",
            config=fields,
            at_creation=fields,
            info=f"STREAM.INFO.{name}",
            diff=diff_stream,
            create=lambda body: (f"STREAM.CREATE.{name}", body),
            update=lambda server, found: [(f"STREAM.UPDATE.{name}", changed_stream(fields, server, found))],
        ),
    )


async def ensure_consumer(bus: Bus, name: str, config: ConsumerConfig, *, opt_start_seq: int | None = None) -> Changed:
    """Have consumer `name` of `config.stream` be as declared; with `declare = false`, have it be there.

    Args:
        bus: the stream's bus.
        name: the durable name.
        config: the declaration, its stream filled in.
        opt_start_seq: the stream sequence where it starts if it has to be created, in place of what is declared.

    Raises:
        NotFoundError: its stream is absent, or it is attach-only and absent; worth looking for again.
        TopologyError: it can't be made so: the server refuses it, or a field can't change or is not kept.
        BusUnavailableError: no answer, or the server can't do it at present.
    """
    if not config.declare:
        what = f"consumer {name} of stream {config.stream}"
        return await _attach(bus, what, f"CONSUMER.INFO.{config.stream}.{name}")
    fields = config.to_server(name)
    at_creation = fields
    if opt_start_seq is not None:
        at_creation = {key: value for key, value in fields.items() if key != "opt_start_time"}
        at_creation |= {"deliver_policy": "by_start_sequence", "opt_start_seq": opt_start_seq}

    return await _ensure(bus, _declared_consumer(name, config.stream, fields, at_creation))


def _declared_consumer(name: str, stream: str, fields: Config, at_creation: Config) -> _Declared:
    def request(action: str, body: Config) -> _Request:
        body, subject = _least_filter(body), f"CONSUMER.CREATE.{stream}.{name}"
        if "filter_subject" in body:
            subject += f".{body['filter_subject']}"
        return subject, {"stream_name": stream, "action": action, "config": body}

    def update(server: Config, found: Sequence[Difference]) -> list[_Request]:
        # An update leaves pause_until as it is, without a word: there is a request of its own for that.
        pause = [(f"CONSUMER.PAUSE.{stream}.{name}", {"pause_until": fields.get("pause_until")})]
        others = [one for one in found if one.field != "pause_until"]
        return [
            *([request("update", changed_consumer(fields, server, others))] if others else []),
            *(pause if len(others) < len(found) else []),
        ]

    return _Declared(
        label=f"consumer {name} of stream {stream}",
        table=f"[consumers.{name}]",
        config=fields,
        at_creation=at_creation,
        info=f"CONSUMER.INFO.{stream}.{name}",
        diff=diff_consumer,
        create=lambda body: request("create", body),
        update=update,
    )


async def _attach(bus: Bus, what: str, subject: str) -> Changed:
    try:
        await ask(bus, subject)
    except NotFoundError as error:
        text = f"{what} is not there, and with declare = false somebody else is to make it"
        raise NotFoundError(error.code, error.err_code, text, error.subject) from None
    return Changed.UNCHANGED


def changed_stream(declared: Config, server: Config, differences: Iterable[Difference]) -> dict[str, Any]:
    """What to send as an update: the server's configuration with only `differences` changed."""
    config = _changed(declared, server, differences)
    if not declared.get("duplicate_window") and 0 < config.get("max_age", 0) < config.get("duplicate_window", 0):
        del config["duplicate_window"]  # the server's own choice, refused above the new max_age: let it choose again
    return config


def changed_consumer(declared: Config, server: Config, differences: Iterable[Difference]) -> dict[str, Any]:
    """What to send as an update: the server's configuration with only `differences` changed."""
    config = _changed({"backoff": [], **one_filter_field(declared)}, one_filter_field(server), differences)
    if config.get("priority_policy") == "none":  # which the server takes without a group only
        return {key: value for key, value in config.items() if key not in ("priority_groups", "priority_timeout")}
    return config


def _changed(declared: Config, server: Config, differences: Iterable[Difference]) -> dict[str, Any]:
    config = {**server, **{one.field: declared[one.field] for one in differences}}
    return config | {"metadata": own_metadata(config)} if "metadata" in config else config


def _least_filter(config: Config) -> dict[str, Any]:
    """A single filter as `filter_subject`, which servers before 2.10 know too."""
    config = one_filter_field(config)
    filters = config.pop("filter_subjects", None) or []
    if len(filters) == 1:
        return config | {"filter_subject": filters[0]}
    return config | {"filter_subjects": filters} if filters else config


async def _ensure(bus: Bus, declared: _Declared) -> Changed:
    done, dropped = Changed.UNCHANGED, list[Difference]()
    for _ in range(_ROUNDS):
        server = await _read(bus, declared)
        differences = declared.diff(declared.config, server) if server is not None else []
        if server is not None and not differences:
            return done
        if text := refusal_of_fixed(declared.label, declared.table, differences):
            raise TopologyError(text)
        await _refuse_unknown(bus, declared)
        requests = [declared.create(declared.at_creation)] if server is None else declared.update(server, differences)
        try:
            answers = [await _change(bus, declared, subject, body) for subject, body in requests]
        except BusUnavailableError:
            if not await _is_so(bus, declared):
                raise
            return Changed.UPDATED if server is not None else Changed.CREATED
        except ApiError as error:
            # Another process can have made or deleted it since we read it; then what we wanted is to be seen anew.
            if error.err_code in _IS_THERE or (await _read(bus, declared) is None) != (server is None):
                continue
            raise await _explained(bus, declared, error) from error
        done = Changed.UPDATED if server is not None else Changed.CREATED
        echo = answers[-1].get("config") or await _read(bus, declared) or {}
        dropped = declared.diff(declared.config, echo)
        if not dropped:
            return done
        if not all(one.editable for one in dropped):
            break
        # In a cluster this can be the answer to a change that another process asked for at the same time.
    _refuse_dropped(declared, dropped)
    raise BusUnavailableError(f"{declared.label}: someone else keeps changing it at the same time")


async def _read(bus: Bus, declared: _Declared) -> dict[str, Any] | None:
    try:
        with unavailable():
            config: dict[str, Any] | None = (await ask(bus, declared.info, patience=ELECTION)).get("config")
    except NotFoundError:
        return None
    if config is None:  # 2.9 says so of a consumer while it is deleted
        raise BusUnavailableError(f"JetStream answered, but told nothing of the {declared.label}")
    return config


async def _change(bus: Bus, declared: _Declared, subject: str, body: Config) -> dict[str, Any]:
    try:
        with unavailable():
            return await bus.api(subject, body, timeout=ELECTION)
    except PlacementError as error:
        raise PlacementError(
            f"{declared.label}: the cluster has no place for it now: {error}: "
            f"see to its servers, or mend {declared.table}"
        ) from error


async def _is_so(bus: Bus, declared: _Declared) -> bool:
    """Whether a change that nobody answered was made: its leader can have died behind it."""
    server = await _read(bus, declared)
    return server is not None and not declared.diff(declared.config, server)


def refusal_of_fixed(label: str, table: str, differences: Iterable[Difference]) -> str:
    """What to say of the differences that no update can mend; empty where there is none.

    Args:
        label: what it is, as "stream ORDERS".
        table: where it is declared, as "[streams.ORDERS]".
        differences: all of them.
    """
    fixed = [
        f"{one.field} from {said(one.field, one.old)} to {said(one.field, one.new)}"
        for one in differences
        if not one.editable
    ]
    if not fixed:
        return ""
    return (
        f"{label} is there already, and the server can't change {' and '.join(fixed)}: "
        f"write in {table} what is there, or delete it so that it is made anew, or use another name"
    )


def refusal_of_unknown(label: str, table: str, config: Config, age: ServerAge) -> str:
    """What to say of the fields that a server does not know; empty where it knows them all.

    Args:
        label, table: as in `refusal_of_fixed`.
        config: what is declared.
        age: the server's.
    """
    fields = [f"{field} (nats-server {version})" for field, version in unknown(config, age)]
    if not fields:
        return ""
    return (
        f"{label}: the server is too old ({age}) for {' and '.join(fields)}: upgrade it, or leave that out of {table}"
    )


def refusal_of_overlap(label: str, other: str, subject: str) -> str:
    """What to say of a stream, by its label, whose subjects another one stores."""
    return (
        f'{label}: the stream {other} stores "{subject}" already, in whole or in part, and streams can\'t share '
        f"subjects: narrow those of one, or use {other} with declare = false"
    )


async def _refuse_unknown(bus: Bus, declared: _Declared) -> None:
    if unknown(declared.config, ServerAge(0)):
        level = (await ask(bus, "INFO")).get("api", {}).get("level", 0)
        if text := refusal_of_unknown(declared.label, declared.table, declared.config, ServerAge(level)):
            raise TopologyError(text)


def _refuse_dropped(declared: _Declared, dropped: Iterable[Difference]) -> None:
    texts = []
    for one in dropped:
        version = since(one.field)
        needs = f" (needs nats-server {version})" if version else ""
        texts.append(
            f"{one.field} is {said(one.field, one.old)} there after {said(one.field, one.new)} was asked{needs}"
        )
    if texts:
        raise TopologyError(
            f"{declared.label}: the server said yes, but {' and '.join(texts)}: "
            f"upgrade the server, or change {declared.table} to what it keeps"
        )


async def _explained(bus: Bus, declared: _Declared, error: ApiError) -> NotFoundError | TopologyError:
    if isinstance(error, NotFoundError):
        return error
    if error.err_code == _OVERLAP:
        for subject in declared.config["subjects"]:
            for other in await streams_storing(bus, subject):
                if other != declared.config["name"]:
                    return TopologyError(refusal_of_overlap(declared.label, other, subject))
    return TopologyError(f"{declared.label}: the server refuses it: {error}: mend {declared.table}")
