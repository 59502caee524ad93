# SPDX-License-Identifier: GPL-2.0-only
"""Dataclasses to JSON and back. What a field accepts is declared once, by its type."""

from __future__ import annotations

import datetime
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final, TypeAlias, Union, get_args, get_origin, get_type_hints

from ..common.calls import Call, Calls, to_rows

#: Turns a value read from JSON into that of a field. Raises ValueError.
_Reader: TypeAlias = Callable[[Any], Any]

#: What marks a field of a dataclass that is neither written nor read here.
APART: Final = {"apart": True}

#: The limits of a number: signed or unsigned, it has 64 bits.
_NUMBERS: Final = range(-(1 << 63), 1 << 64)
_LARGEST: Final = float(1 << 64)


def plain(value: Any) -> Any:
    """The JSON form of a value that ``json.dumps`` does not know: of a dataclass, what differs from its defaults."""
    if is_dataclass(value):
        kind: Any = type(value)
        held = ((name, getattr(value, name), default) for name, default in _written(kind))
        return {name: _plain(now) for name, now, default in held if now is not default and now != default}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


@cache
def _written(kind: Any) -> list[tuple[str, Any]]:
    """The fields of a dataclass that are written, each with its default."""
    return [(each.name, _default(each)) for each in fields(kind) if _here(each)]


def _plain(value: Any) -> Any:
    """Named tuples are converted here, because JSON would take them for lists."""
    if isinstance(value, Calls) or (isinstance(value, tuple) and value and isinstance(value[0], Call)):
        return to_rows(value)
    if isinstance(value, tuple) and value and hasattr(value[0], "to_json"):
        return [each.to_json() for each in value]
    return value


def read(kind: Any, value: Any) -> Any:
    """A value of type ``kind``, from what ``plain`` wrote. Raises ValueError. True and false are not numbers.

    Texts, numbers, dates, enumerations by their values, dataclasses, tuples of these, mappings from texts to these, and
    None as an alternative. A type that is annotated with a function is read by that function. Fields of a dataclass
    that have a default may be missing; an unknown key is ignored.
    """
    return _reader(kind)(value)


@cache
def _reader(kind: Any) -> _Reader:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _as_is(arguments[1])
    if origin in (Union, types.UnionType):
        (one,) = (_reader(each) for each in arguments if each is not type(None))
        return lambda value: None if value is None else one(value)
    if origin is tuple and arguments[-1] is Ellipsis:
        return _list(_reader(arguments[0]))
    if origin is tuple:
        return _row([_reader(each) for each in arguments])
    if origin is Mapping:
        return _mapping(_reader(arguments[1]))
    if is_dataclass(kind):
        return _record(kind)
    if issubclass(kind, Enum):
        return _as_is(kind)
    return _LEAVES[kind]


def _as_is(one: _Reader) -> _Reader:
    return one


def _here(each: Field[Any]) -> bool:
    return "apart" not in each.metadata


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _list(one: _Reader) -> _Reader:
    return lambda value: tuple([one(each) for each in _exactly(list, value)])


def _row(readers: list[_Reader]) -> _Reader:
    def take(value: Any) -> tuple[Any, ...]:
        if len(_exactly(list, value)) != len(readers):
            raise ValueError(f"{len(value)} values instead of {len(readers)}")
        return tuple(one(each) for one, each in zip(readers, value, strict=True))

    return take


def _mapping(one: _Reader) -> _Reader:
    return lambda value: {key: one(each) for key, each in _exactly(dict, value).items()}


def _record(kind: Any) -> _Reader:
    hints = get_type_hints(kind, include_extras=True)
    known = [(each.name, _reader(hints[each.name]), _default(each) is MISSING) for each in fields(kind) if _here(each)]

    def take(value: Any) -> Any:
        values = {}
        _exactly(dict, value)
        for name, one, needed in known:
            if name in value:
                try:
                    values[name] = one(value[name])
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
            elif needed:
                raise ValueError(f"{name} is missing")
        return kind(**values)

    return take


def _exactly(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"not a {_NAMES[kind]}")
    return value


def _number(value: Any) -> int:
    if _exactly(int, value) not in _NUMBERS:
        raise ValueError("a number of more than 64 bits")
    return int(value)


def _measure(value: Any) -> float:
    if type(value) is int:
        return float(_number(value))
    if not abs(_exactly(float, value)) < _LARGEST:  # NaN compares as false
        raise ValueError("a number of more than 64 bits")
    return float(value)


def _date(value: Any) -> datetime.date:
    return datetime.date.fromisoformat(_exactly(str, value))


_NAMES: Final = {str: "text", bool: "truth value", int: "number", float: "number", list: "list", dict: "record"}

_LEAVES: Final[dict[Any, _Reader]] = {
    str: lambda value: _exactly(str, value),
    bool: lambda value: _exactly(bool, value),
    int: _number,
    float: _measure,
    datetime.date: _date,
}
