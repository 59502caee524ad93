# SPDX-License-Identifier: GPL-2.0-only
"""Recorded calls in words."""

from __future__ import annotations

import errno

from ..common.calls import OMITTED, SECOND, Behind, Call
from ..common.registers import Register
from ..common.words import counted
from ..uapi import type1, vfio
from .registers import Registers
from .structures import LAYOUTS, answered, asked

_REQUESTS = {
    value: name
    for module in (vfio, type1)
    for name, value in vars(module).items()
    if name.startswith("VFIO_") and isinstance(value, int) and value >= vfio.VFIO_GET_API_VERSION
}

#: Requests whose by-value argument is the number of an extension.
_OF_EXTENSIONS = (vfio.VFIO_CHECK_EXTENSION, vfio.VFIO_SET_IOMMU)
_EXTENSIONS = {type1.VFIO_TYPE1_IOMMU: "VFIO_TYPE1_IOMMU", type1.VFIO_TYPE1v2_IOMMU: "VFIO_TYPE1v2_IOMMU"}

#: How many bytes of data are shown, and digits of a digest.
_SHOWN_BYTES, _SHOWN_DIGITS = 16, 16

#: Up to this many bytes are shown as one number.
_NUMBER = 8


def describe(call: Call, registers: Registers) -> str:
    """One record as a line: the call, the answer, and the time it took."""
    if call.verb == OMITTED:
        return f"({counted(call.number, 'call')} left out)"
    if call.verb in ("read", "write"):
        text = _access(call, _register(call, registers))
    elif call.verb == "ioctl":
        second = f" on the {call.target}" if call.target.startswith(SECOND) else ""
        text = f"ioctl {_request(call)}{second} -> {_reply(call)}"
    elif call.verb == "version":
        answer = _error(call.errno) if call.value < 0 else _version(call.received)
        text = f"version {_version(call.sent)} of the {call.target} -> {answer}"
    elif call.verb in ("read-file", "write-file"):
        text = _file(call)
    else:
        text = f"{_other(call)} -> {_error(call.errno) if call.value < 0 else 'ok'}"
    repeated = f"  ({counted(call.times, 'time')})" if call.times > 1 else ""
    return f"{text}{repeated}  [{call.duration_ns // 1000} us]"


# -- reads and writes -------------------------------------------------------------------------------------------------


def _register(call: Call, registers: Registers) -> Register | None:
    """The register, if the whole of one was accessed."""
    region = call.target.removeprefix(SECOND).removeprefix("region ")
    of_region = registers.get(int(region), ()) if region.isascii() and region.isdecimal() else ()
    return next((each for each in of_region if (each.offset, each.width) == (call.number, call.length)), None)


def _access(call: Call, register: Register | None) -> str:
    if register:
        place = ("second device's " if call.target.startswith(SECOND) else "") + register.name
    else:
        place = f"{counted(call.length, 'byte')} at 0x{call.number:x} of {call.target}"
    if call.verb == "write":
        return f"write {place} = {_data(call, register)} -> {_moved(call) or counted(call.value, 'byte')}"
    return f"read {place} -> {_moved(call) or _data(call, register)}"


def _moved(call: Call) -> str:
    """The error or short count of an access that did not move everything; empty if it did."""
    if call.value < 0:
        return _error(call.errno)
    return f"only {counted(call.value, 'byte')}" if call.value < call.length else ""


def _data(call: Call, register: Register | None) -> str:
    data, digest = call.moved
    if 0 < len(data) <= _NUMBER and not digest:
        number = int.from_bytes(data, "little")
        name = register.values.get(number) if register else None
        return f"0x{number:x} ({name})" if name else f"0x{number:x}"
    return _bytes(data, digest)


def _bytes(data: bytes, digest: str) -> str:
    """The first bytes, and the digest of all."""
    text = data[:_SHOWN_BYTES].hex() + ("..." if len(data) > _SHOWN_BYTES or digest else "")
    return f"{text or 'nothing'}, sha256 {digest[:_SHOWN_DIGITS]}..." if digest else text or "nothing"


# -- requests ---------------------------------------------------------------------------------------------------------


def request_name(number: int) -> str:
    """The name of a request by its number; the number if it has no name."""
    return _REQUESTS.get(number, hex(number))


def _request(call: Call) -> str:
    """Its name, and its argument as far as it was recorded."""
    name = request_name(call.number)
    if not call.sent:
        return name
    if call.number in LAYOUTS and call.length:
        return f"{name} {asked(LAYOUTS[call.number], call.sent)}"
    if call.number == vfio.VFIO_GROUP_GET_DEVICE_FD:
        return f"{name} {call.sent.rstrip(bytes(1)).decode(errors='backslashreplace')}"
    if call.length > _NUMBER:
        return f"{name} {_bytes(call.sent, call.sent_digest)}"
    value = int.from_bytes(call.sent, "little")
    if call.number in _OF_EXTENSIONS and value in _EXTENSIONS:
        return f"{name} {_EXTENSIONS[value]}"
    if call.length:
        return f"{name} 0x{value:x}"
    there = call.behind.data if call.behind else b""
    inside = asked(LAYOUTS[call.number], there) if call.number in LAYOUTS else there.hex()
    return f"{name} at 0x{value:x}" + (f" ({counted(len(there), 'byte')}: {inside})" if there else "")


def _reply(call: Call) -> str:
    text = _error(call.errno) if call.value < 0 else str(call.value) if call.value else "ok"
    if call.number in LAYOUTS and call.length:
        changed = answered(LAYOUTS[call.number], call.sent, call.received)
        text += f" {changed}" if changed else ""
    elif call.received != call.sent and call.length:
        text += f" {_bytes(call.received, call.received_digest)}"
    return f"{text}, {_behind(call.behind)}" if call.behind and call.length and call.value >= 0 else text


def _behind(memory: Behind) -> str:
    """A dirty bitmap: how many bits are set, and which."""
    if not (memory.data or memory.digest):
        return f"a bitmap of {counted(memory.size, 'byte')}"
    numbers = ", ".join(map(str, memory.first)) + (", ..." if memory.bits > len(memory.first) else "")
    return f"{memory.bits} of {counted(8 * memory.size, 'bit')} set" + (f": {numbers}" if memory.bits else "")


# -- all others -------------------------------------------------------------------------------------------------------


def _version(data: bytes) -> str:
    """A protocol's version and its side's capabilities: two numbers, then text."""
    major, minor = (int.from_bytes(data[at : at + 2], "little") for at in (0, 2))
    return f"{major}.{minor} {data[4:].rstrip(bytes(1)).decode(errors='backslashreplace')}".rstrip()


def _other(call: Call) -> str:
    if call.length:
        return f"{call.verb} {counted(call.length, 'byte')} at 0x{call.number:x} of {call.target}"
    path = f" ({call.sent.decode(errors='backslashreplace')})" if call.verb == "open" and call.sent else ""
    return f"{call.verb} {call.target}{path}"


def _file(call: Call) -> str:
    """A file that the profile names, with what was written to it or read from it."""
    answer = _error(call.errno) if call.value < 0 else ""
    if call.verb == "write-file":
        return f"write {_text(call.sent)} to {call.target} -> {answer or 'ok'}"
    return f"read {call.target} -> {answer or _text(call.received)}"


def _text(data: bytes) -> str:
    """What a file holds, on one line."""
    return repr(data.decode(errors="backslashreplace"))


def _error(code: int) -> str:
    return errno.errorcode.get(code, f"errno {code}") if code else "an error without an errno"
