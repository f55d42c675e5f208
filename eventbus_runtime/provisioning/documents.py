"""Plain dicts as YAML that every reader takes for the same.

Each text stands in double quotes, or as a literal block where it has several lines: unquoted, `1e3`, `0o17` and `no`
are something else to one reader or another.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if _fits_a_block(text) else '"')


def _fits_a_block(text: str) -> bool:
    """Whether a literal block gives it back as it is: not with odd characters, nor with spaces where they get lost."""
    lines = text.split("\n")
    is_plain = all(line == line.rstrip() and line.replace("\t", "").isprintable() for line in lines)
    return len(lines) > 1 and is_plain and not text.startswith((" ", "\t", "\n"))


_Dumper.add_representer(str, _text)


def to_yaml(documents: Iterable[Mapping[str, Any]]) -> str:
    """Documents as one stream, keys in the order that they were given in.

    Args:
        documents: of dicts, lists, texts, numbers and truth values alone.
    """
    return yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, explicit_start=True, allow_unicode=True, width=sys.maxsize
    )
