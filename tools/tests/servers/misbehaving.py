# SPDX-License-Identifier: GPL-2.0-only
"""The reference driver, made to misbehave at chosen messages.

    misbehaving.py SOCKET TRICK...

A trick is WHEN:DO. WHEN is the name of a command, ``any``, or a register of the migration region for the reads of it,
and may end in ``#5`` (the fifth such message only) or ``#5-`` (the fifth and all after it). DO is one of:

=================== ===============================================================================================
die, die=N          exit with status 1 or N instead of answering
die-for-good        exit, and again each time the run restarts the server
hang                never answer anything again; SIGTERM still ends it
error=N             answer errno N
wrong-id            answer another message id
cut=N               leave the last N bytes of the answer out
claim=N             say in the header that the answer has N bytes
put=AT,WIDTH,VALUE  overwrite a number in the answer's body, if it is that long
body=TEXT           replace the answer's body by text, which may have escapes such as \\0
stop, kill          SIGSTOP or SIGKILL to the client; never answer
signal=NAME,...     signals such as SIGINT to the supervisor, which is the parent of the client; never answer
=================== ===============================================================================================

``--stubborn`` (ignore SIGTERM) and the options of the reference driver may be given among the tricks.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import ClassVar

from on_reference import command_line, serve

from refdriver import __main__ as program
from refdriver.device.layout import LAYOUTS
from refdriver.socket import connection, server, wire

COMMANDS = {
    wire.VERSION: "VERSION",
    wire.DMA_MAP: "DMA_MAP",
    wire.DMA_UNMAP: "DMA_UNMAP",
    wire.DEVICE_GET_INFO: "DEVICE_GET_INFO",
    wire.DEVICE_GET_REGION_INFO: "DEVICE_GET_REGION_INFO",
    wire.REGION_READ: "REGION_READ",
    wire.REGION_WRITE: "REGION_WRITE",
    wire.DEVICE_RESET: "DEVICE_RESET",
}
MIGRATION = LAYOUTS["plain"].migration
REGISTERS = {0: "device_state", 8: "pending_bytes", 16: "data_offset", 24: "data_size"}


#: Exists once the server has died for good.
DEAD = Path(tempfile.gettempdir(), "dead")


class Trick:
    """One WHEN:DO."""

    def __init__(self, text: str) -> None:
        when, _, do = text.partition(":")
        self.name, _, number = when.partition("#")
        self.first = int(number.rstrip("-") or 1)
        self.last = self.first if number.isdigit() else sys.maxsize
        self.verb, _, value = do.partition("=")
        self.value = value
        self.number = int(value) if value.isdecimal() else 1


class Hostile(connection.Connection):
    """A connection that does what the tricks say."""

    tricks: ClassVar[list[Trick]] = []
    seen: ClassVar[Counter[str]] = Counter()
    due: Trick | None = None

    def receive(self) -> connection.Message:
        message = super().receive()
        names = {"any", COMMANDS.get(message.command, "")}
        if message.command == wire.REGION_READ:
            offset, region, _ = wire.REGION_ACCESS.unpack_from(message.body)
            names |= {REGISTERS.get(offset, "")} if region == MIGRATION else set()
        if message.command == wire.DEVICE_GET_REGION_INFO:
            names |= {f"region-info-{wire.REGION_INFO.unpack_from(message.body)[2]}"}
        self.seen.update(names)
        fits = (trick for trick in self.tricks if trick.name in names)
        self.due = next((trick for trick in fits if trick.first <= self.seen[trick.name] <= trick.last), None)
        if self.due:
            self._before_answer(self.due)
        return message

    def _before_answer(self, trick: Trick) -> None:
        client = struct.unpack("3i", self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        if trick.verb == "die":
            os._exit(trick.number)
        elif trick.verb == "die-for-good":
            DEAD.touch()
            os._exit(1)
        elif trick.verb in ("stop", "kill"):
            os.kill(client, signal.SIGSTOP if trick.verb == "stop" else signal.SIGKILL)
        elif trick.verb == "signal":
            supervisor = int(Path(f"/proc/{client}/stat").read_text().rpartition(")")[2].split()[1])
            for name in trick.value.split(","):
                os.kill(supervisor, signal.Signals[name])
        if trick.verb in ("hang", "stop", "kill", "signal"):
            while True:
                signal.pause()

    def reply(
        self, message: connection.Message, body: bytes, fd: int | None = None, data: bytes | memoryview = b""
    ) -> None:
        trick = self.due
        if trick is None:
            super().reply(message, body, fd, data)
        elif trick.verb == "error":
            self.refuse(message, trick.number)
        else:
            self._send(answer(trick, message, body + data), fd)


def answer(trick: Trick, message: connection.Message, body: bytes) -> bytes:
    """The whole reply, corrupted."""
    if trick.verb == "put":
        at, width, value = (int(word, 0) for word in trick.value.split(","))
        if at + width <= len(body):
            body = body[:at] + value.to_bytes(width, "little") + body[at + width :]
    elif trick.verb == "body":
        body = trick.value.encode().decode("unicode_escape").encode()
    elif trick.verb == "cut":
        body = body[: -trick.number]
    size = trick.number if trick.verb == "claim" else 16 + len(body)
    ident = message.ident + 1 & 0xFFFF if trick.verb == "wrong-id" else message.ident
    return wire.HEADER.pack(ident, message.command, size, wire.TYPE_REPLY, 0) + body


def main() -> int:
    path, tricks, options = command_line()
    if DEAD.exists():
        return 4
    Hostile.tricks = [Trick(word) for word in tricks]
    replaced: dict[tuple[object, str], object] = {(server, "Connection"): Hostile}
    if "--stubborn" in options:
        options.remove("--stubborn")
        replaced[program, "_end"] = lambda number, frame: None
    return serve(path, options, replaced)


if __name__ == "__main__":
    sys.exit(main())
