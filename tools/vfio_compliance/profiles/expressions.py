# SPDX-License-Identifier: GPL-2.0-only
"""Numbers that are computed when a step is done: `$iova >> 32`, `$now + 5`, `$tail + 1`.

They are written as in Python, only with whole numbers, variables and a few operators.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Final, TypeAlias

from yaml.nodes import ScalarNode

from vfio_compliance.common.words import counted, enumerated
from vfio_compliance.profiles.document import Document, quoted
from vfio_compliance.profiles.kinds import Integer, Schema, Text

#: Known in every step: whole seconds since 1970, nanoseconds since 1970, and how often the list of steps has been begun
#: in this run, this time included.
ALWAYS: Final = ("$now", "$now_ns", "$count")

_LONGEST: Final = 200
_FURTHEST_SHIFT: Final = 128
_VARIABLE: Final = re.compile(r"\$[a-z][a-z0-9_]*")
_PREFIX: Final = "v_"  # stands for `$`, which Python's names do not have

_BINARY: Final[dict[type[ast.operator], Callable[[int, int], int]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
_UNARY: Final[dict[type[ast.unaryop], Callable[[int], int]]] = {
    ast.Invert: operator.invert,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_OPERATORS: Final = "+ - * // % & | ^ ~ << >> ( )"


@dataclass(frozen=True)
class Expression:
    """A number that is computed when the step is done."""

    text: str
    #: The variables in it, `$iova` and so on.
    names: frozenset[str]

    def value(self, variables: Mapping[str, int]) -> int:
        """The number. Raises ValueError, which says why it cannot be computed: a division by zero, a shift too far."""
        try:
            return _value(_tree(self.text), variables)
        except ZeroDivisionError:
            raise ValueError(f"{quoted(self.text)} divides by zero") from None

    def __str__(self) -> str:
        return self.text


#: A number of a step that may be computed.
Value: TypeAlias = int | Expression


def number(value: Value, variables: Mapping[str, int]) -> int:
    """The present number of a value. Raises ValueError as Expression.value() does."""
    return value.value(variables) if isinstance(value, Expression) else value


def parse(text: str) -> Value:
    """The number or expression in a text. Raises ValueError, which says what is wrong with it."""
    names = frozenset(_VARIABLE.findall(text))
    expression = Expression(text, names)
    for node in ast.walk(_tree(text)):
        _check(node, names)
    return expression if names else expression.value({})


class Computed(Integer):
    """A whole number, decimal or 0x..., or an expression that gives one when the step is done.

    The variables are checked when the list of steps is read: an earlier step may set some.
    """

    def parse(self, node: ScalarNode, document: Document) -> Any:
        text = str(node.value)
        if not re.search(r"[$+*/%&|^~<>()]|.-", text):
            return super().parse(node, document)
        if text.startswith("-") and text[1:].isalnum():
            return super().parse(node, document)
        found = parse(text)
        if isinstance(found, int) and not self.minimum <= found <= self.maximum:
            raise ValueError(f"{quoted(text)} is out of range: {self.minimum} to {self.maximum:#x}")
        return found

    def schema(self) -> Schema:
        return {"anyOf": [super().schema(), {"type": "string", "pattern": r"[$+*/%&|^~<>()-]"}]}


@dataclass(frozen=True)
class Filled:
    """Text for a file, in which `{...}` is a number that is computed when the step is done."""

    text: str
    #: Plain pieces, and between them an expression with the way to write it: "d", "x", "#x" or with a width, "08x".
    parts: tuple[str | tuple[Value, str], ...]

    @property
    def names(self) -> frozenset[str]:
        """The variables in it."""
        found = [part[0].names for part in self.parts if not isinstance(part, str) and isinstance(part[0], Expression)]
        return frozenset[str]().union(*found)

    def fill(self, variables: Mapping[str, int]) -> str:
        """All of it, with its numbers. Raises ValueError as Expression.value() does."""
        return "".join(
            part if isinstance(part, str) else format(number(part[0], variables), part[1]) for part in self.parts
        )

    def __str__(self) -> str:
        return self.text


class FileText(Text):
    """What is written into a file."""

    _PIECE = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")
    _FORMAT = re.compile(r"#?0?[0-9]{0,2}[dxX]")

    def __init__(self) -> None:
        super().__init__("text such as `{$iova:#x} {$length}`", blank=True)

    def parse(self, node: ScalarNode, document: Document) -> Any:
        text = str(node.value)
        plain = text.replace("\n", " ").replace("\t", " ")
        super().parse(ScalarNode(node.tag, plain, node.start_mark, node.end_mark, node.style), document)
        parts: list[str | tuple[Value, str]] = []
        end = 0
        for match in self._PIECE.finditer(text):
            inside, written = match.group(1), match.group(2) or "d"
            if not self._FORMAT.fullmatch(written):
                raise ValueError(f"{quoted(match.group())}: a number is written as `d`, `x`, `#x` or `08x`")
            parts += [text[end : match.start()], (parse(inside), written)]
            end = match.end()
        parts.append(text[end:])
        for part in parts:
            if isinstance(part, str) and re.search("[{}]", part):
                raise ValueError(f"{quoted(text)} has a brace without its counterpart")
        return Filled(text, tuple(part for part in parts if part))


def used(record: Any) -> Iterator[tuple[str, frozenset[str]]]:
    """The computed fields of a step, each with its variables."""
    if not is_dataclass(record):
        return
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, (Expression, Filled)) and value.names:
            yield field.name, value.names


def unknown(name: str, known: Iterable[str], document: Document) -> str:
    """The message for a variable that is unknown where it is used."""
    known = sorted(known)
    wanted = enumerated(["a number", *(f"`{each}`" for each in known if each not in ALWAYS)])
    return f"{quoted(name)} is unknown here; expected {wanted}{document.did_you_mean(name, known)}"


@cache
def _tree(text: str) -> ast.expr:
    if len(text) > _LONGEST:
        raise ValueError(f"{quoted(text)} has more than {counted(_LONGEST, 'character')}")
    try:
        return ast.parse(_VARIABLE.sub(lambda name: _PREFIX + name.group()[1:], text.strip()), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{quoted(text)} is not an expression of numbers, variables and {_OPERATORS}") from None


def _check(node: ast.AST, names: frozenset[str]) -> None:
    """Raises ValueError for anything that expressions must not have."""
    if isinstance(node, ast.Div):
        raise ValueError("`/` gives fractions; write `//`")
    if isinstance(node, ast.Name) and "$" + node.id.removeprefix(_PREFIX) not in names:
        raise ValueError(f"{quoted(node.id)} is not a number; variables begin with `$`")
    if isinstance(node, ast.Constant) and (type(node.value) is not int or node.value >= 1 << 64):
        raise ValueError(f"{quoted(str(node.value))} is not a whole number below 2^64")
    kinds = (ast.BinOp, ast.UnaryOp, ast.Name, ast.Constant, ast.Load, *_BINARY, *_UNARY)
    if not isinstance(node, kinds):
        raise ValueError(f"an expression has numbers, variables and {_OPERATORS}, nothing else")


def _value(node: ast.expr, variables: Mapping[str, int]) -> int:
    if isinstance(node, ast.Constant):
        return int(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return variables["$" + node.id.removeprefix(_PREFIX)]
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value(node.operand, variables))
    assert isinstance(node, ast.BinOp)
    left, right = _value(node.left, variables), _value(node.right, variables)
    if isinstance(node.op, (ast.LShift, ast.RShift)) and not 0 <= right <= _FURTHEST_SHIFT:
        raise ValueError(f"a shift by {right}; 0 to {_FURTHEST_SHIFT} are possible")
    return _BINARY[type(node.op)](left, right)
