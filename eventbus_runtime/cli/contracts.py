"""`eventbus contracts`: the typed contracts, for who writes a client in another language."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from eventbus_runtime.contracts.json_schema import json_schema
from eventbus_runtime.contracts.proto import proto_text


class Form(StrEnum):
    """What they are written as."""

    proto = "proto"
    json_schema = "json-schema"


def contracts(
    form: Annotated[Form, typer.Option("--format", help="For protobuf's compiler, or JSON Schema.")] = Form.proto,
) -> None:
    """Print the seven typed contracts: what modules, steps and the trigger take and give."""
    if form is Form.proto:
        typer.echo(proto_text(), nl=False)
    else:
        typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
