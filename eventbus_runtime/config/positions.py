"""On which line a key of a TOML text stands. Values come from tomllib, which forgets lines; errors need them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

from eventbus_runtime.config.tables import Keys


def positions(text: str) -> dict[Keys, int]:
    """The line, from 1, where each key, table and array item of `text` first stands."""
    tree = Parser(Language(tree_sitter_toml.language())).parse(text.encode())
    found: dict[Keys, int] = {}
    for keys, line in _document(tree.root_node):
        found.setdefault(keys, line)
    return found


def _document(root: Node) -> Iterator[tuple[Keys, int]]:
    lengths: dict[Keys, int] = {}
    for node in root.named_children:
        if node.type == "pair":
            yield from _pair(node, ())
        elif node.type in ("table", "table_array_element"):
            header, *pairs = [child for child in node.named_children if child.type != "comment"]
            table: Keys = ()
            for name in _names(header):
                table = (*table, name)
                yield table, _line(node)
                if table in lengths and table != _names(header):
                    table = (*table, lengths[table] - 1)
            if node.type == "table_array_element":
                lengths[table] = lengths.get(table, 0) + 1
                table = (*table, lengths[table] - 1)
                yield table, _line(node)
            for pair in pairs:
                yield from _pair(pair, table)


def _pair(node: Node, table: Keys) -> Iterator[tuple[Keys, int]]:
    names, value = [child for child in node.named_children if child.type != "comment"]
    for name in _names(names):
        table = (*table, name)
        yield table, _line(node)
    yield from _value(value, table)


def _value(node: Node, at: Keys) -> Iterator[tuple[Keys, int]]:
    items = [child for child in node.named_children if child.type != "comment"]
    if node.type == "inline_table":
        for pair in items:
            yield from _pair(pair, at)
    elif node.type == "array":
        for index, item in enumerate(items):
            yield (*at, index), _line(item)
            yield from _value(item, (*at, index))


def _names(node: Node) -> tuple[str, ...]:
    if node.type == "dotted_key":
        return tuple(name for child in node.named_children for name in _names(child))
    text = (node.text or b"").decode()
    return tuple(tomllib.loads(f"{text} = 0"))


def _line(node: Node) -> int:
    return node.start_point[0] + 1
