"""`eventbus consume`: messages of a declared consumer, by the consume step, from the command line (S-31)."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from eventbus_runtime.buses.nats import NatsBus
from eventbus_runtime.cli.connect import connected, duration, open_bus, told_in_one_line
from eventbus_runtime.config.loader import load_consumers
from eventbus_runtime.config.report import did_you_mean, listed
from eventbus_runtime.contracts.duration import Duration
from eventbus_runtime.contracts.json_mapping import to_json
from eventbus_runtime.contracts.model import AckRequest, ConsumeRequest, Message
from eventbus_runtime.dead_letters.letter import as_text
from eventbus_runtime.errors import ConfigError
from eventbus_runtime.pipelines.steps import AckStep, ConsumeStep
from eventbus_runtime.triggers.fetch import Fetcher

_CONNECTS_WITHIN = 5.0


def consume(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The configuration; only buses, streams and consumers count.")
    ],
    consumer: Annotated[str, typer.Argument(metavar="CONSUMER", help="A consumer that it declares.")],
    batch: Annotated[int, typer.Option(min=1, max=1000, metavar="NUMBER", help="Most messages.")] = 1,
    max_wait: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for them.")] = "5s",
    ack: Annotated[bool, typer.Option("--ack", help="Acknowledge them, once they are printed.")] = False,
    raw: Annotated[bool, typer.Option("--base64", help="Print each payload in base64, text or not.")] = False,
) -> None:
    """Fetch messages of a declared consumer, and print each as JSON, one a line.

    A payload that is no UTF-8 text is printed in base64: payload_encoding says so. What is not acknowledged comes again
    after the consumer's ack_wait: see `eventbus ack`. Nothing there is no error.
    """
    with told_in_one_line():
        wait = duration(max_wait, "--max-wait")
        if wait <= 0:
            raise ConfigError(f"--max-wait {max_wait}: it must be more than 0")
        buses, consumers = load_consumers(file)
        if consumer not in consumers:
            near = did_you_mean(consumer, consumers) or (
                f"; declare [consumers.{consumer}] with its stream; declared: {listed(sorted(consumers))}"
            )
            raise ConfigError(f'{file} declares no consumer "{consumer}"{near}')
        name, stream = consumers[consumer]
        opened = open_bus(file, name, buses[name])
        request = ConsumeRequest(consumer=consumer, batch_size=batch, max_wait=Duration.of(round(wait * 10**9)))
        asyncio.run(_consume(opened, stream, request, ack=ack, raw=raw))


async def _consume(bus: NatsBus, stream: str, request: ConsumeRequest, *, ack: bool, raw: bool) -> None:
    async with connected(bus, _CONNECTS_WITHIN):
        fetcher = Fetcher(bus, stream, request.consumer)
        try:
            found = await ConsumeStep({request.consumer: fetcher})(request)
        finally:
            await fetcher.close()
        for message in found.messages:
            typer.echo(json.dumps(_shown(message, raw=raw), ensure_ascii=False))
        if ack:
            step = AckStep(bus)
            await asyncio.gather(*(step(AckRequest(ack_token=each.ack_token)) for each in found.messages))


def _shown(message: Message, *, raw: bool) -> dict[str, Any]:
    """A message by the contract's JSON mapping, but with a payload that people can read."""
    payload, encoding = (base64.b64encode(message.payload).decode(), "base64") if raw else as_text(message.payload)
    return {"subject": "", "headers": {}, **to_json(message), "payload": payload, "payload_encoding": encoding}
