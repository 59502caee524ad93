# SPDX-License-Identifier: GPL-2.0-only
"""What a file of actions may ask for, and the checks of its requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from ...common.words import counted
from .process import LARGEST_BLOB

#: The value of a register of 8 bytes with all bits set.
_ALL: Final = 2**64 - 1

#: Seconds of the longest wait, as in profiles.
_LONGEST_WAIT: Final = 24 * 3600.0

#: Bytes of a file's text, and characters of its path.
_LARGEST_TEXT, _LONGEST_PATH = 1 << 20, 4096


class Verbs(Protocol):
    """What a file may do with the device; each raises DeviceError if the device refuses.

    Offsets and sizes are in bytes, times in seconds. Arguments are checked before a verb is called.
    """

    def read(self, region: int, offset: int, width: int) -> int: ...
    def write(self, region: int, offset: int, width: int, value: int) -> None: ...
    def read_bytes(self, region: int, offset: int, size: int) -> bytes: ...
    def write_bytes(self, region: int, offset: int, data: bytes) -> None: ...
    def wait(self, region: int, offset: int, width: int, equals: int, within: float, mask: int = ...) -> None: ...
    def read_file(self, path: str) -> str: ...
    def write_file(self, path: str, text: str) -> None: ...
    def enable_irq(self, index: int, vector: int = ...) -> None: ...
    def disable_irq(self, index: int) -> None: ...
    def trigger_irq(self, index: int, vector: int = ...) -> None: ...
    def unmask_irq(self, index: int, vector: int = ...) -> None: ...
    def count_irq(self, index: int, vector: int = ...) -> int: ...
    def wait_irq(self, index: int, vector: int = ..., within: float = ...) -> None: ...


class Request(NamedTuple):
    """A valid access; ``waits`` is the index of its longest time in the arguments, or None."""

    verb: str
    arguments: tuple[Any, ...]
    waits: int | None

    def shortened(self, left: float) -> Request:
        """The same request, but waiting for at most ``left`` seconds."""
        if self.waits is None or self.arguments[self.waits] <= left:
            return self
        arguments = [*self.arguments]
        arguments[self.waits] = max(left, 0.0)
        return self._replace(arguments=tuple(arguments))

    def carry_out(self, verbs: Verbs) -> tuple[int | None, bytes]:
        """What the verb gives: a number or bytes. Raises what it does."""
        given = getattr(verbs, self.verb)(*self.arguments)
        if isinstance(given, str):
            given = given.encode(errors="surrogateescape")
        return (None, given) if isinstance(given, bytes) else (given, b"")


#: Converts an argument to the form a verb takes. Raises ValueError, whose text follows the argument's name.
_Check: TypeAlias = Callable[[Any], Any]


def _whole(low: int, high: int) -> _Check:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be an integer from {low:#x} to {high:#x}, not {_shown(value)}")
        return value

    return check


def _width(value: Any) -> int:
    if value not in (1, 2, 4, 8) or type(value) is not int:
        raise ValueError(f"must be 1, 2, 4 or 8, not {_shown(value)}")
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= _LONGEST_WAIT:
        raise ValueError(f"must be a number of seconds, at most a day, not {_shown(value)}")
    return float(value)


def _path(value: Any) -> str:
    if type(value) is not str or not 0 < len(value) <= _LONGEST_PATH or "\0" in value:
        raise ValueError(f"must be the path of a file, not {_shown(value)}")
    return value


def _mask(value: Any) -> int:
    mask: int = _ALL if value is None else _whole(1, _ALL)(value)
    return mask


def _shown(value: Any) -> str:
    return f"{value:#x}" if type(value) is int and abs(value) > 9 else ascii(value)[:60]


_REGION, _OFFSET, _VALUE, _IRQ = _whole(0, 0xFFFF), _whole(0, 2**63 - 1), _whole(0, _ALL), _whole(0, 2**32 - 1)
_PLACE: Final = {"region": _REGION, "offset": _OFFSET}
_VECTOR: Final = {"index": _IRQ, "vector": _IRQ}

#: The arguments of each verb, in order. Those in _BYTES and _TEXT also take the bytes that come with the request.
_VERBS: Final[dict[str, dict[str, _Check]]] = {
    "read": {**_PLACE, "width": _width},
    "write": {**_PLACE, "width": _width, "value": _VALUE},
    "read_bytes": {**_PLACE, "size": _whole(1, LARGEST_BLOB)},
    "write_bytes": _PLACE,
    "wait": {**_PLACE, "width": _width, "equals": _VALUE, "within": _seconds, "mask": _mask},
    "read_file": {"path": _path},
    "write_file": {"path": _path},
    "enable_irq": _VECTOR,
    "disable_irq": {"index": _IRQ},
    "trigger_irq": _VECTOR,
    "unmask_irq": _VECTOR,
    "count_irq": _VECTOR,
    "wait_irq": {**_VECTOR, "within": _seconds},
}
_BYTES, _TEXT = {"write_bytes"}, {"write_file"}


def is_verb(name: object, arguments: Sequence[Any]) -> bool:
    """Whether the verb exists and takes this number of arguments."""
    return type(name) is str and name in _VERBS and len(arguments) == len(_VERBS[name])


def request(verb: str, arguments: Sequence[Any], blob: bytes) -> Request:
    """The request of a verb for which is_verb() holds. Raises ValueError for invalid arguments."""
    checked: dict[str, Any] = {}
    for (name, check), value in zip(_VERBS[verb].items(), arguments, strict=True):
        try:
            checked[name] = check(value)
        except ValueError as error:
            raise ValueError(f"`{name}` {error}") from None
    _fits(checked)
    given = (*checked.values(), *_beside(verb, blob))
    names = [*checked]
    return Request(verb, given, names.index("within") if "within" in names else None)


def _beside(verb: str, blob: bytes) -> tuple[bytes | str, ...]:
    if verb in _BYTES:
        return (blob,)
    if verb not in _TEXT:
        return ()
    if len(blob) > _LARGEST_TEXT:
        raise ValueError(f"a text of {counted(len(blob), 'byte')} is too large for a file")
    return (blob.decode(errors="surrogateescape"),)


def _fits(checked: dict[str, Any]) -> None:
    """Raises ValueError for a value that its register cannot have."""
    width, mask = checked.get("width", 8), checked.get("mask", _ALL)
    if mask == _ALL:
        mask >>= 64 - 8 * width
    for name, value in {**checked, "mask": mask}.items():
        if name in ("value", "equals", "mask") and value >> 8 * width:
            raise ValueError(f"`{name}` does not fit into {counted(8 * width, 'bit')}")
    if checked.get("equals", 0) & ~mask:
        raise ValueError(f"`equals` has bits outside the mask {mask:#x}; this never becomes true")
