# SPDX-License-Identifier: GPL-2.0-only
"""Files that a profile reads and writes, such as the attributes that a driver has in /sys: each access is traced."""

from __future__ import annotations

import os
import stat

from ..common.words import counted
from ..device import DeviceError
from ..device.errors import errno_name
from ..transport import Transport

#: Bytes of a file that are read; an attribute in /sys has 4096 at most.
_MOST = 1 << 16


def read_text(transport: Transport, path: str) -> str:
    """The content of the file, without surrounding white space. Raises DeviceError."""
    with transport.tracer.recorded("read-file", path) as answer:
        try:
            descriptor = _open(path, os.O_RDONLY)
            try:
                data = _all_of(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            answer.value, answer.errno = -1, error.errno or 0
            raise _refused("reading", path, error) from None
        answer.received, answer.value = data, len(data)
    return data.decode(errors="backslashreplace").strip()


def write_text(transport: Transport, path: str, text: str) -> None:
    """Write a string in one call, as an attribute requires. Raises DeviceError."""
    data = text.encode()
    with transport.tracer.recorded("write-file", path, 0, len(data), data) as answer:
        try:
            descriptor = _open(path, os.O_WRONLY | os.O_TRUNC)
            try:
                answer.value = os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            answer.value, answer.errno = -1, error.errno or 0
            raise _refused("writing", path, error) from None
    if answer.value != len(data):
        raise DeviceError(f"writing {path}", f"{counted(len(data), 'byte')} taken", str(answer.value))


def _open(path: str, flags: int) -> int:
    """Only for a regular file: any other may never answer. Raises OSError."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "it is not a regular file")
    return descriptor


def _all_of(descriptor: int) -> bytes:
    data = b""
    while len(data) < _MOST and (piece := os.read(descriptor, _MOST - len(data))):
        data += piece
    return data


def _refused(verb: str, path: str, error: OSError) -> DeviceError:
    seen = errno_name(error.errno) if error.errno else str(error.strerror)
    return DeviceError(f"{verb} the file {path}", "success", seen, error.errno or None)
