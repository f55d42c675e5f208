"""Ack tokens, headers and subjects, whatever stands in them: a round trip, or one error that names the part."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus_runtime.buses.nats.compatible import CompatibleReader
from eventbus_runtime.buses.nats.publisher import header_block
from eventbus_runtime.buses.nats.writer import publication
from eventbus_runtime.headers import Headers
from eventbus_runtime.message import AckToken, Message
from eventbus_runtime.subjects import is_subject
from eventbus_runtime.triggers.memory import identify
from tests.buses.recorder import OURS, Recorder, cut, msg, same

names = st.text(st.characters(exclude_characters=". ", exclude_categories=["Cs"]), min_size=1, max_size=8)
numbers = st.integers(0, 2**64) | st.integers(0, 9)


@given(
    st.none() | names, st.tuples(names, names), st.lists(numbers, min_size=5, max_size=5), st.lists(names, max_size=3)
)
def test_a_token_says_the_same_to_all_who_read_it(
    domain: str | None, where: tuple[str, str], counts: list[int], more: list[str]
) -> None:
    """NATS ADR-15: 9 parts, or 11 and more where the domain and the account come first."""
    parts = [*where, *map(str, counts)]
    token = ".".join(["$JS", "ACK", *(parts if domain is None else [domain, "HASH", *parts, *more])])
    read = AckToken.parse(token)
    assert read == ("" if domain in (None, "_") else domain, *where, *counts)
    message = Message((b"s.a", token.encode(), b"", None))
    assert message.origin == f"{where[0]}.{counts[1]}.{counts[3]}"
    assert identify(token.encode()) == (counts[1], b"%d.%d" % (counts[1], counts[3]))


# Everything that text can hold, lone surrogates too; often what has a meaning on the wire.
letters = st.sampled_from("aB1.*>$: \t\r\n\x00\x0bä\ud800\udcff") | st.characters()
anything = st.lists(letters, max_size=6).map("".join)


plain = st.sampled_from(["", "a", "a ", " \ta", "a:b", "ä\t"])

good, bad = st.tuples(st.sampled_from("AB"), plain), st.tuples(anything, plain | anything)


@given(st.lists(good, max_size=4) | st.lists(good | bad, max_size=3), st.sampled_from([None, "7"]) | anything)
def test_headers_come_back_as_they_were_or_the_error_names_one(pairs: list[tuple[str, str]], id: str | None) -> None:  # noqa: A002 - the header's own word
    try:
        block = header_block(pairs, id, None)
    except ValueError as error:
        wrong = [text for text in (*(name for name, _ in pairs), "Nats-Msg-Id") if repr(text) in str(error)]
        assert wrong, error  # noqa: PT017
        return
    sent = [*pairs, *([("Nats-Msg-Id", id)] if id is not None and all(n != "Nats-Msg-Id" for n, _ in pairs) else [])]
    read = Headers.parse(block)
    for name, _ in sent:
        assert read.getall(name) == [value.lstrip(" \t") for other, value in sent if other == name]


@given(anything, anything)
def test_a_subject_goes_on_the_wire_as_it_is_or_the_error_names_it(subject: str, reply: str) -> None:
    try:
        command = publication(subject, b"x", reply)
    except ValueError as error:
        assert repr(subject) in str(error) or repr(reply) in str(error)  # noqa: PT017
        assert not (is_subject(subject) and is_subject(reply) and (subject + reply).isprintable())
        return
    line, _, rest = command.partition(b"\r\n")
    words = ["PUB", subject, *([reply] if reply else []), "1"]
    assert line.decode("utf-8", "surrogateescape").split(" ") == words
    assert rest == b"x\r\n"


bodies = st.binary(max_size=30) | st.sampled_from([b"\r\n", b"MSG a 7 3\r\nabc\r\n", b"PING\r\n"])
blocks = st.binary(max_size=20).map(lambda raw: b"NATS/1.0" + raw + b"\r\n\r\n") | st.just(b"")
messages = st.builds(
    lambda sid, body, block: msg(sid, body, headers=block, reply=b"r"), st.sampled_from([*OURS, 9]), bodies, blocks
)


@settings(deadline=None)
@given(st.lists(messages | st.just(b"PING\r\n"), max_size=8).map(b"".join), st.lists(st.floats(0, 1), max_size=8))
def test_both_readers_give_the_same_messages_however_the_stream_is_cut(stream: bytes, places: list[float]) -> None:
    async def check() -> None:
        batch, compatible = Recorder(), Recorder()
        batch.plug()
        reader = CompatibleReader(compatible.client)
        for sid in OURS:
            reader.slots.add(sid, compatible.sink(sid))
        reads = cut(stream, [round(place * len(stream)) for place in places])
        for one in (batch, compatible):
            await one.feed(*reads)
        await asyncio.sleep(0)
        for sid in OURS:
            ours = [call for call in batch.calls if call[:2] == ("msg", sid)]
            assert ours == [call for call in compatible.calls if call[:2] == ("msg", sid)]
        whole = Recorder()
        whole.plug()
        await whole.feed(stream)
        assert same(batch, whole)

    asyncio.run(check())
