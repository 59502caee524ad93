# SPDX-License-Identifier: GPL-2.0-only
"""The kinds of single values in a profile: text, numbers, sizes, times...

Each kind knows two things: how to read its value from a YAML node, and how to describe itself as JSON Schema.
Only spellings that YAML 1.1 (PyYAML) and YAML 1.2 (most editors) read in the same way are accepted.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from yaml.nodes import MappingNode, Node, ScalarNode

from vfio_compliance.common import versions
from vfio_compliance.profiles.document import (
    BOOLEAN,
    LONGEST_QUOTE,
    NULL,
    SKIPPED,
    STRING,
    Document,
    listed,
    quoted,
)

Schema: TypeAlias = dict[str, Any]

BAD: Any = object()  # the result of reading after a complaint
_READ_AS = {
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "timestamp": "a date",
    "null": "nothing",
}
_NUMBER_1_2 = re.compile(r"[-+]?(0o[0-7]+|0x[0-9a-fA-F]+|(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*|0x[0-9a-fA-F]+)")


class Kind:
    """A kind of value."""

    def read(self, node: Node, path: str, document: Document) -> Any:
        """The value of a node, or BAD, with the problem noted in the document."""
        raise NotImplementedError

    def schema(self) -> Schema:
        """The kind in JSON Schema, draft 7."""
        raise NotImplementedError

    def value(self, written: Any) -> Any:
        """The value of a default that is written in the source as in a profile."""
        return written


class Scalar(Kind):
    """A value without inner structure. Subclasses give `wanted` and `parse`."""

    wanted = ""

    def parse(self, node: ScalarNode, document: Document) -> Any:
        """The value; raises ValueError with the message for the user."""
        raise NotImplementedError

    def read(self, node: Node, path: str, document: Document) -> Any:
        if node.tag == SKIPPED:
            return BAD
        try:
            if not isinstance(node, ScalarNode):
                shape = "mapping" if isinstance(node, MappingNode) else "list"
                raise ValueError(f"expected {self.wanted}, found a {shape}")
            if node.tag == NULL:
                raise ValueError(f"no value here; expected {self.wanted}")
            return self.parse(node, document)
        except ValueError as error:
            document.complain(node, str(error))
            return BAD


class Text(Scalar):
    """A string on one line. A `pattern` must fit the whole of it; `wanted` says so in words."""

    def __init__(self, wanted: str = "text", pattern: str = "", *, blank: bool = False) -> None:
        self.wanted, self.pattern, self.blank = wanted, pattern, blank

    def parse(self, node: ScalarNode, document: Document) -> Any:
        text = str(node.value)
        if node.tag != STRING:
            raise _unquoted(text, read_as(node.tag))
        if not node.style and _NUMBER_1_2.fullmatch(text):
            raise _unquoted(text, "a number")
        if not self.blank and not text.strip():
            raise ValueError(f"expected {self.wanted}, found blank text")
        if not text.isprintable():
            raise ValueError(f"{quoted(text)} has a line break or a control character in it")
        if self.pattern and not re.fullmatch(self.pattern, text):
            raise ValueError(f"expected {self.wanted}, found {quoted(text)}")
        return text

    def schema(self) -> Schema:
        if self.pattern:
            return {"type": "string", "pattern": f"^(?:{self.pattern})$"}
        return {"type": "string"} if self.blank else {"type": "string", "pattern": r"\S"}


class Prose(Text):
    """Text for people, over as many lines as it takes; line breaks become spaces."""

    def parse(self, node: ScalarNode, document: Document) -> Any:
        if node.tag == STRING:
            node = ScalarNode(node.tag, " ".join(node.value.split()), node.start_mark, node.end_mark)
        return super().parse(node, document)


class Choice(Text):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        super().__init__(listed(words))
        self.words = words

    def parse(self, node: ScalarNode, document: Document) -> Any:
        text = str(node.value)
        if text not in self.words:
            raise ValueError(self.refusal(text, document))
        return text

    def refusal(self, text: str, document: Document) -> str:
        """The message for any other word."""
        return f"expected {self.wanted}, found {quoted(text)}{document.did_you_mean(text, self.words)}"

    def schema(self) -> Schema:
        return {"enum": list(self.words)}


class VersionRange(Text):
    """A range of versions."""

    def __init__(self) -> None:
        super().__init__('a range of versions such as ">=6.1, <6.13"')

    def parse(self, node: ScalarNode, document: Document) -> Any:
        text = super().parse(node, document)
        try:
            versions.check(text)
        except ValueError as error:
            raise ValueError(f"expected {self.wanted}, found {quoted(text)}: {error}") from None
        return text


class Boolean(Scalar):
    """true or false. The other spellings of YAML 1.1 (yes, on, ...) are words in YAML 1.2, and so refused."""

    wanted = "`true` or `false`"

    def parse(self, node: ScalarNode, document: Document) -> Any:
        text = node.value.lower()
        if text not in ("true", "false"):
            raise ValueError(f"expected {self.wanted}, found {quoted(node.value)}")
        if node.tag != BOOLEAN:
            raise ValueError(f"expected {self.wanted}; remove the quotes")
        return text == "true"

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Integer(Scalar):
    """A whole number, decimal or 0x..., within bounds."""

    def __init__(self, minimum: int = 0, maximum: int = 2**64 - 1) -> None:
        self.minimum, self.maximum = minimum, maximum
        self.wanted = "a number"

    def parse(self, node: ScalarNode, document: Document) -> Any:
        text = node.value
        if not _INTEGER.fullmatch(text):
            raise ValueError(f"expected {self.wanted}, found {quoted(text)}{_number_hint(text)}")
        if node.style:
            raise ValueError(f"expected {self.wanted}; remove the quotes")
        number = int(text, 0) if len(text) < 64 else None
        if number is None or not self.minimum <= number <= self.maximum:
            highest = self.maximum if self.maximum < 2**20 else hex(self.maximum)
            raise ValueError(f"{quoted(text)} is out of range: {self.minimum} to {highest}")
        return number

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


class OneOfNumbers(Integer):
    """One of a few numbers."""

    def __init__(self, *numbers: int) -> None:
        super().__init__(-(2**63))
        self.numbers = numbers
        self.wanted = listed(map(str, numbers))

    def parse(self, node: ScalarNode, document: Document) -> Any:
        number = super().parse(node, document)
        if number not in self.numbers:
            raise ValueError(f"expected {self.wanted}, found {quoted(node.value)}")
        return number

    def schema(self) -> Schema:
        return {"enum": list(self.numbers)}


class _Measure(Scalar):
    """A number with a unit, within bounds that are written in the same way."""

    units: Mapping[str, int]
    digits: str

    def __init__(self, minimum: str, maximum: str) -> None:
        self.bounds = minimum, maximum

    def parse(self, node: ScalarNode, document: Document) -> Any:
        measure = self.value(node.value)
        if not self.value(self.bounds[0]) <= measure <= self.value(self.bounds[1]):
            raise ValueError(f"{quoted(node.value)} is out of range: {self.bounds[0]} to {self.bounds[1]}")
        return measure

    def amount(self, written: str) -> tuple[str, int]:
        """Number and factor of a measure; raises ValueError with the message for the user."""
        if written.startswith("-"):
            raise ValueError(f"{quoted(written)} is negative; expected {self.wanted}")
        match = re.fullmatch(f"({self.digits}) ?([A-Za-z]*)", written)
        if not match or len(written) > 40:
            raise ValueError(f"expected {self.wanted}, found {quoted(written)}{_number_hint(written)}")
        number, unit = match.groups()
        if unit not in self.units:
            known = listed((unit for unit in self.units if unit), "and")
            what = f"has the unknown unit `{unit}`" if unit else "has no unit"
            raise ValueError(f"{quoted(written)} {what}; units are {known}")
        return number, self.units[unit]

    def schema(self) -> Schema:
        units = "|".join(unit for unit in self.units if unit)
        return {"type": "string", "pattern": f"^(?:{self.digits}) ?(?:{units})$"}


class Size(_Measure):
    """A number of bytes (int): a whole number, or one with a binary unit."""

    units: Mapping[str, int] = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
    digits = "0|[1-9][0-9]*|0x[0-9a-fA-F]+"
    wanted = "a size such as `64KiB`"

    def __init__(self, minimum: str, maximum: str, *, power_of_two: bool = False) -> None:
        super().__init__(minimum, maximum)
        self.power_of_two = power_of_two

    def value(self, written: Any) -> Any:
        number, factor = self.amount(str(written))
        return int(number, 0) * factor

    def parse(self, node: ScalarNode, document: Document) -> Any:
        size = super().parse(node, document)
        if self.power_of_two and size & (size - 1):
            raise ValueError(f"{quoted(node.value)} is not a power of two")
        return size

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "integer", "minimum": self.value(self.bounds[0])}, super().schema()]}


class Duration(_Measure):
    """A time in seconds (float), always written with its unit."""

    # in microseconds, so that the one division at the end gives the nearest float
    units: Mapping[str, int] = {"us": 1, "ms": 10**3, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6}
    digits = r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"
    wanted = "a time such as `500ms`"

    def value(self, written: Any) -> Any:
        number, factor = self.amount(str(written))
        return float(number) * factor / 10**6


def duration(text: str, least: str, most: str) -> float:
    """A time written as in a profile, in seconds. Raises ValueError, which says what is wrong with it."""
    kind = Duration(least, most)
    seconds: float = kind.value(text)
    if not kind.value(least) <= seconds <= kind.value(most):
        raise ValueError(f"{quoted(text)} is out of range: {least} to {most}")
    return seconds


class Date(Scalar):
    """A day of the calendar, YYYY-MM-DD."""

    wanted = "a date such as 2027-01-31"

    def parse(self, node: ScalarNode, document: Document) -> Any:
        if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", node.value):
            with contextlib.suppress(ValueError):
                return datetime.date.fromisoformat(node.value)
            raise ValueError(f"{quoted(node.value)} is not a day of the calendar")
        raise ValueError(f"expected {self.wanted}, found {quoted(node.value)}")

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}


def read_as(tag: str) -> str:
    """The type that YAML sees in a plain word with this tag."""
    return _READ_AS.get(tag.rpartition(":")[2], "something other than text")


def _unquoted(text: str, seen: str) -> ValueError:
    return ValueError(f'YAML reads {quoted(text)} as {seen}; for text, put it in quotes: "{text[:LONGEST_QUOTE]}"')


def _number_hint(text: str) -> str:
    """Why something that looks like a number is not one: spellings on which YAML 1.1 and 1.2 disagree."""
    if len(text) > LONGEST_QUOTE:
        return ""  # no one wrote that by hand
    if re.fullmatch("-?0[0-7]+", text):
        return f"; YAML 1.1 reads a leading 0 as octal: write {int(text, 8)} or {text.lstrip('0') or 0}"
    if re.fullmatch("[0-9]+(:[0-9]+)+", text):
        return "; YAML 1.1 reads colons as base 60"
    if re.fullmatch("[0-9][0-9A-Fa-fx]*(_[0-9A-Fa-f]+)+", text):
        return f"; write {text.replace('_', '')}"
    if re.fullmatch("[0-9A-Fa-f]+", text):
        return f"; hexadecimal is written 0x{text}"
    return ""
