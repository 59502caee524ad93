# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's qtest protocol: reads and writes of the guest's memory and ports, as its processor would make them."""

from __future__ import annotations

import base64
import binascii
import time

from ..common.words import counted
from .errors import Failed, Untried
from .lines import Lines
from .output import quoted

#: The widths that one access may have, in bytes, each with its letter.
_LETTERS = {1: "b", 2: "w", 4: "l", 8: "q"}

#: The most bytes that are asked for at once; the answer fits into a line.
_MOST = 1 << 16


class Bus:
    """The buses of a running guest. Each verb raises QemuError."""

    def __init__(self, lines: Lines, patience: float) -> None:
        """``patience`` is the number of seconds that an answer may take."""
        self._lines, self._patience = lines, patience

    def port_in(self, port: int, width: int) -> int:
        """Read a port, 1, 2 or 4 bytes wide."""
        return self._number(f"in{_LETTERS[width]} {port:#x}")

    def port_out(self, port: int, width: int, value: int) -> None:
        """Write a port."""
        self._ask(f"out{_LETTERS[width]} {port:#x} {value:#x}")

    def read(self, address: int, length: int) -> bytes:
        """Read memory: by one access if ``length`` is a possible width, else as QEMU splits it."""
        if length in _LETTERS:
            return self._number(f"read{_LETTERS[length]} {address:#x}").to_bytes(8, "little")[:length]
        pieces = []
        for done in range(0, length, _MOST):
            size = min(_MOST, length - done)
            order = f"b64read {address + done:#x} {size:#x}"
            try:
                piece = base64.b64decode(self._ask(order), validate=True)
            except binascii.Error:
                piece = b""
            if len(piece) != size:
                raise Untried(f"qtest gives {counted(len(piece), 'byte')} for `{order}`")
            pieces.append(piece)
        return b"".join(pieces)

    def write(self, address: int, data: bytes) -> None:
        """Write bytes in the same way."""
        if len(data) in _LETTERS:
            self._ask(f"write{_LETTERS[len(data)]} {address:#x} {int.from_bytes(data, 'little'):#x}")
            return
        for done in range(0, len(data), _MOST):
            piece = data[done : done + _MOST]
            self._ask(f"b64write {address + done:#x} {len(piece):#x} {base64.b64encode(piece).decode()}")

    def _number(self, order: str) -> int:
        answer = self._ask(order)
        try:
            number = int(answer, 16)
        except ValueError:
            number = -1
        if not 0 <= number < 1 << 64:
            raise Untried(f"qtest answers {quoted(answer)} to `{order}`")
        return number

    def _ask(self, order: str) -> str:
        deadline = time.monotonic() + self._patience
        self._lines.send(order, deadline)
        word, _, rest = self._lines.receive(deadline).partition(" ")
        if word in ("FAIL", "ERR"):
            raise Failed(f"qtest refuses `{quoted(order)}`: {quoted(rest)}")
        if word != "OK":
            raise Untried(f"qtest answers {quoted(word)} to `{quoted(order)}`")
        return rest.strip()
