# SPDX-License-Identifier: GPL-2.0-only
"""Kinds with an inner structure: lists, and mappings that become dataclasses.

A dataclass whose fields are made with `key()` is both the description of a part of the format and the
result of reading it. It may have a method `problems()` for problems that only several keys together show;
it yields the dotted key at fault and the message.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from vfio_compliance.common.words import enumerated
from vfio_compliance.profiles.document import NULL, SKIPPED, STRING, Document, listed, place_of, quoted
from vfio_compliance.profiles.kinds import BAD, Kind, Schema, read_as

_REQUIRED: Any = object()
_MOST_NAMED = 8  # of keys in a message
_MAPPING = "a mapping (`key: value`)"


def key(kind: Kind, doc: str, *, default: Any = _REQUIRED) -> Any:
    """A field of a dataclass: the key's kind, what it means, and its default, written as in a profile.

    Without a default the key is required.
    """
    metadata = {"kind": kind, "doc": doc, "default": default}
    if default is _REQUIRED:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=kind.value(default) if isinstance(default, str) else default, metadata=metadata)


class ListOf(Kind):
    """A list of values of one kind, as a tuple."""

    def __init__(self, item: Kind, wanted: str, *, at_least: int = 0) -> None:
        self.item, self.wanted, self.at_least = item, wanted, at_least

    def read(self, node: Node, path: str, document: Document) -> Any:
        if node.tag == SKIPPED:
            return BAD
        if not isinstance(node, SequenceNode):
            document.complain(node, f"expected {self.wanted}, found {_shape(node)}")
            return BAD
        if len(node.value) < self.at_least:
            document.complain(node, f"expected {self.wanted}, found an empty list")
            return BAD
        items = []
        for index, item in enumerate(node.value):
            inner = f"{path}.{index}"
            document.keys[inner] = document.values[inner] = place_of(item)
            items.append(self.item.read(item, inner, document))
        return BAD if any(item is BAD for item in items) else tuple(items)

    def schema(self) -> Schema:
        schema: Schema = {"type": "array", "items": self.item.schema()}
        return {**schema, "minItems": self.at_least} if self.at_least else schema


class Record(Kind):
    """A mapping with known keys, as a dataclass. `kinds` replaces the kind of some of its keys."""

    def __init__(
        self,
        cls: type,
        *,
        exactly_one: Sequence[str] = (),
        at_least_one: Sequence[str] = (),
        kinds: Mapping[str, Kind] | None = None,
    ) -> None:
        self.cls, self.exactly_one, self.at_least_one = cls, exactly_one, at_least_one
        self.fields = {field.name: field.metadata for field in dataclasses.fields(cls) if "kind" in field.metadata}
        self.kinds = {name: metadata["kind"] for name, metadata in self.fields.items()} | dict(kinds or {})

    def read(self, node: Node, path: str, document: Document) -> Any:
        return self.build(entries(node, path, document), node, path, document)

    def build(
        self,
        found: dict[str, tuple[Node, Node]] | None,
        node: Node,
        path: str,
        document: Document,
        elsewhere: Mapping[str, str] | None = None,
    ) -> Any:
        """The dataclass from the entries of a mapping; `elsewhere` says where foreign keys belong."""
        if found is None:
            return BAD
        complaints = len(document.problems)
        values = {}
        for name, (name_node, value_node) in found.items():
            if name in self.kinds:
                values[name] = self.kinds[name].read(value_node, _join(path, name), document)
            else:
                hint = (elsewhere or {}).get(name) or document.did_you_mean(name, self.kinds)
                document.complain(name_node, f"unknown key {quoted(name)}{hint}")
        self._complain_of_missing(found, document.keys.get(path, place_of(node)), document)
        if len(document.problems) > complaints or any(value is BAD for value in values.values()):
            return BAD
        record = self.cls(**values)
        place = document.keys.get(path, place_of(node))
        for name, message in record.problems() if hasattr(record, "problems") else ():
            document.complain(document.values.get(_join(path, name), place), message)
        return record

    def _complain_of_missing(self, found: Mapping[str, Any], place: Any, document: Document) -> None:
        for name, metadata in self.fields.items():
            if metadata["default"] is _REQUIRED and name not in found:
                document.complain(place, f"the key `{name}` is missing")
        choices = self.exactly_one or self.at_least_one
        given = [name for name in choices if name in found]
        if choices and not given:
            document.complain(place, f"the key {listed(choices)} is missing")
        if self.exactly_one and len(given) > 1:
            document.complain(found[given[1]][0], f"{listed(given, 'and')} exclude each other; give one")

    def schema(self) -> Schema:
        properties = {}
        for name, metadata in self.fields.items():
            properties[name] = {"description": metadata["doc"], **self.kinds[name].schema()}
            if isinstance(metadata["default"], (str, int)):
                properties[name]["default"] = metadata["default"]
        schema: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
        required = [name for name, metadata in self.fields.items() if metadata["default"] is _REQUIRED]
        if required:
            schema["required"] = required
        if self.exactly_one:
            schema["oneOf"] = [{"required": [name]} for name in self.exactly_one]
        if self.at_least_one:
            schema["anyOf"] = [{"required": [name]} for name in self.at_least_one]
        return schema


class OrNone(Kind):
    """A value of another kind, or the word `none`: the device has no such thing.

    The value of a denied key is None, as if it were left out; the document notes that it is denied. If the word is
    not accepted, `refused` says what to do instead.
    """

    def __init__(self, kind: Kind, *, refused: str = "") -> None:
        self.kind, self.refused = kind, refused

    def read(self, node: Node, path: str, document: Document) -> Any:
        if not isinstance(node, ScalarNode) or node.tag == SKIPPED:
            return self.kind.read(node, path, document)
        if node.value == "none" and not self.refused:
            document.denied.add(path)
            return None
        if node.value == "none":
            document.complain(node, f"this cannot be `none`: {self.refused}")
            return BAD
        if self.refused:
            return self.kind.read(node, path, document)
        wanted = self.kind.wanted if isinstance(self.kind, ListOf) else _MAPPING
        document.complain(node, f"expected {wanted}, or `none` for a device without it; found {_shape(node)}")
        return BAD

    def schema(self) -> Schema:
        schema = self.kind.schema()
        return schema if self.refused else {"anyOf": [schema, {"const": "none"}]}


class Variant(Kind):
    """A mapping in which one key, the selector, decides which record it is."""

    def __init__(self, selector: str, records: Mapping[str, Record]) -> None:
        self.selector, self.records = selector, records

    def read(self, node: Node, path: str, document: Document) -> Any:
        found = entries(node, path, document)
        if found is None:
            return BAD
        if self.selector not in found:
            place = document.keys.get(path, place_of(node))
            document.complain(place, f"the key `{self.selector}` is missing: {listed(self.records)}")
            return BAD
        selected = found[self.selector][1]
        if selected.tag == SKIPPED:
            return BAD
        record = self.records.get(selected.value) if isinstance(selected, ScalarNode) else None
        if record is None:
            seen = str(selected.value) if isinstance(selected, ScalarNode) else ""
            message = f"expected {listed(self.records)}, found {quoted(seen) if seen else _shape(selected)}"
            document.complain(selected, message + document.did_you_mean(seen, self.records))
            return BAD
        elsewhere = {
            name: f"; it belongs to {self.selector} `{word}`"
            for word, other in self.records.items()
            for name in other.kinds
        }
        return record.build(found, node, path, document, elsewhere)

    def schema(self) -> Schema:
        cases = [
            {"if": {"properties": {self.selector: {"const": word}}}, "then": record.schema()}
            for word, record in self.records.items()
        ]
        selector = {self.selector: {"enum": list(self.records)}}
        return {"type": "object", "required": [self.selector], "properties": selector, "allOf": cases}


class OneKey(Kind):
    """A mapping with a single key, which decides what its value is."""

    def __init__(self, kinds: Mapping[str, Kind], wanted: str = "") -> None:
        """``wanted``: the words for messages, if listing all keys would be too long."""
        self.kinds, self.wanted = kinds, wanted or listed(kinds)

    def read(self, node: Node, path: str, document: Document) -> Any:
        found = entries(node, path, document)
        if found is None:
            return BAD
        if len(found) != 1:
            seen = enumerated([quoted(name) for name in [*found][:_MOST_NAMED]], "and") if found else "none"
            seen += f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
            document.complain(node, f"expected a single key, {self.wanted}; found {seen}")
            return BAD
        ((name, (name_node, value_node)),) = found.items()
        if name not in self.kinds:
            hint = document.did_you_mean(name, self.kinds)
            document.complain(name_node, f"expected {self.wanted}, found {quoted(name)}{hint}")
            return BAD
        return self.kinds[name].read(value_node, _join(path, name), document)

    def schema(self) -> Schema:
        properties = {name: kind.schema() for name, kind in self.kinds.items()}
        return {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
            "properties": properties,
        }


def entries(node: Node, path: str, document: Document) -> dict[str, tuple[Node, Node]] | None:
    """Keys and values of a mapping by name, with their places noted; for anything else None, after a complaint."""
    if node.tag == SKIPPED:
        return None
    if not isinstance(node, MappingNode):
        document.complain(node, f"expected {_MAPPING}, found {_shape(node)}")
        return None
    found: dict[str, tuple[Node, Node]] = {}
    for name_node, value_node in node.value:
        if name_node.tag == SKIPPED:
            continue
        if not isinstance(name_node, ScalarNode):
            document.complain(name_node, f"a key is a plain word, not {_shape(name_node)}")
        elif name_node.value == "<<":
            document.complain(name_node, "merge keys (`<<`) are not used; write the keys out")
        elif name_node.tag != STRING and not name_node.style:
            document.complain(name_node, f"YAML reads the key {quoted(name_node.value)} as {read_as(name_node.tag)}")
        elif name_node.value in found:
            first = place_of(found[name_node.value][0])
            document.complain(name_node, f"the key {quoted(name_node.value)} is in line {first.line} already")
        else:
            found[name_node.value] = name_node, value_node
            inner = _join(path, name_node.value)
            document.keys[inner], document.values[inner] = place_of(name_node), place_of(value_node)
    return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shape(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    return "nothing" if node.tag == NULL else quoted(str(node.value))
