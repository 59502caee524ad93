#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A fake QEMU, with a device that has one region of memory; the environment variable FAKE names a fault.

It accepts the same options, speaks QMP and qtest, and saves its memory to a file, as QEMU saves a device's state.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FAULT = os.environ.get("FAKE", "")
SIZE = 4096
#: A register outside the state: the number of reads while the device ran.
COUNTER = 2048
BAR = 0x10


def main(arguments: list[str]) -> int:
    """Runs with these arguments; returns the exit code."""
    if "--version" in arguments:
        return version()
    if "vfio-pci,help" in arguments:
        print("vfio-pci options:", "" if FAULT == "no-option" else "x-enable-migration=<bool>")
        return 0
    words = " ".join(arguments)
    if FAULT == "exits":
        print("vfio 0000:00:00.0: failed to open: Device or resource busy", file=sys.stderr)
        return 1
    if FAULT == "aborts":
        os.abort()
    if FAULT == "talkative":
        print("a warning\n" * 100_000, file=sys.stderr)
    if FAULT == "leaves-children":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen(["sleep", "1000"])
    qmp, qtest = (int(found) for found in re.findall(r"fd=(\d+)", words))
    return Fake(socket.socket(fileno=qmp), socket.socket(fileno=qtest), "-incoming" in arguments).serve()


def version() -> int:
    """Prints the answer to --version; returns the exit code."""
    if FAULT == "version-hangs":
        time.sleep(1000)
    if FAULT == "version-fails":
        print("cannot load a library", file=sys.stderr)
        return 127
    number = {"old": "5.1.0", "new": "8.2.0", "newest": "10.0.2"}.get(FAULT, "7.2.22")
    print("Another emulator" if FAULT == "other-program" else f"QEMU emulator version {number} (a fake)")
    return 0


class Fake:
    """The machine."""

    def __init__(self, qmp: socket.socket, qtest: socket.socket, incoming: bool) -> None:
        self.qmp, self.qtest = qmp, qtest
        self.memory = bytearray(SIZE)
        self.address, self.chosen = 0, 0
        self.running = not incoming
        self.migration: dict[str, Any] = {}
        self.incoming = incoming
        self.slow = False
        self.count = 0
        #: The last file that the memory was saved to.
        self.saved = ""

    def runs(self) -> bool:
        """Whether the device runs: it should while the guest does."""
        stopped = {
            "source-stopped": not self.incoming,
            "target-stopped": self.incoming,
            "back-stopped": self.saved.endswith("/live"),
            "cancelled-stopped": self.migration.get("status") == "cancelled",
        }
        early = FAULT == "runs-early" and self.incoming
        return (self.running or early) and not stopped.get(FAULT, False)

    def serve(self) -> int:
        """Answers until the end of a connection or ``quit``."""
        if FAULT == "silent":
            time.sleep(1000)
        if FAULT == "no-json":
            self.qmp.sendall(b"hello\n")
        elif FAULT == "no-greeting":
            self.send({"return": {}})
        elif FAULT == "list-greeting":
            self.qmp.sendall(b"[1]\n")
        elif FAULT == "deep":
            self.qmp.sendall(b"[" * 100_000 + b"\n")
        elif FAULT == "long-line":
            self.qmp.sendall(b"x" * (4 << 20) + b"\n")
        else:
            self.send({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": "a fake"}}})
        with selectors.DefaultSelector() as ready:
            ready.register(self.qmp, selectors.EVENT_READ, self.order)
            ready.register(self.qtest, selectors.EVENT_READ, self.access)
            files = {self.qmp: b"", self.qtest: b""}
            while True:
                for key, _ in ready.select():
                    connection: Any = key.fileobj
                    data = connection.recv(1 << 16)
                    if not data:
                        return 0
                    *lines, files[connection] = (files[connection] + data).split(b"\n")
                    for line in lines:
                        if key.data(line.decode()):
                            return 0

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message over QMP."""
        self.qmp.sendall(json.dumps(message).encode() + b"\n")

    # -- QMP ----------------------------------------------------------------------------------------------------------

    def order(self, line: str) -> bool:
        """Carries out a QMP command; returns whether it is the last."""
        order = json.loads(line)
        name, arguments = order["execute"], order.get("arguments", {})
        if name == "quit" and FAULT == "stays":
            return False
        if FAULT == "events-only" and name != "qmp_capabilities":
            while True:
                self.send({"event": "NOTHING", "timestamp": {"seconds": 0, "microseconds": 0}})
        if FAULT == "other-answers" and name == "query-migrate":
            self.send({"return": [1, 2], "id": order["id"]})
            return False
        if name == "migrate" and FAULT == "refuses":
            self.send({"error": {"class": "GenericError", "desc": "not \x1b[31mthis device"}, "id": order["id"]})
            return False
        result: Any = getattr(self, name.replace("-", "_"), lambda **_: {})(**arguments)
        self.send({"event": "SOMETHING"})
        self.send({"return": result, "id": order["id"]})
        return bool(name == "quit")

    def migrate_set_parameters(self, **arguments: int) -> dict[str, Any]:
        """Makes migrations slow or fast."""
        self.slow = arguments.get("max-bandwidth", 1 << 40) < 1 << 20
        return {}

    def migrate(self, uri: str) -> dict[str, Any]:
        """Saves the memory to a file."""
        if FAULT == "migrate-aborts":
            print("qemu: hardware error: the device is in the error state", file=sys.stderr, flush=True)
            os.abort()
        if FAULT == "migrate-exits":
            sys.exit(3)
        if FAULT == "migrate-fails":
            self.migration = {"status": "failed", "error-desc": "the device cannot be migrated"}
            return {}
        if self.slow or FAULT == "migrate-hangs":
            self.migration = {"status": "active"}
            return {}
        file = self.saved = shlex.split(uri)[-1]
        data = bytes(self.memory) + bytes([self.running])
        Path(file).write_bytes(data[: SIZE // 2] if FAULT == "cut" else data)
        numbers = {"total-time": 5, "downtime": 1, "ram": {"transferred": 100}, "vfio": {"transferred": SIZE}}
        if FAULT == "absurd-numbers":
            numbers = {"total-time": -1, "downtime": 1.5, "ram": [], "vfio": {"transferred": 1 << 80}}
        self.migration = {"status": "completed", **numbers}
        self.running = False
        return {}

    def migrate_cancel(self) -> dict[str, Any]:
        """Cancels a migration."""
        if FAULT != "cancel-ignored":
            self.migration = {"status": "cancelled"}
        if FAULT == "cancel-loses":
            self.memory[:8] = bytes(8)
        return {}

    def migrate_incoming(self, uri: str) -> dict[str, Any]:
        """Loads the memory from a file."""
        data = Path(shlex.split(uri)[-1]).read_bytes()
        if len(data) <= SIZE:
            print("qemu: load of migration failed: Input/output error", file=sys.stderr, flush=True)
            sys.exit(1)
        if FAULT != "loses":
            self.memory[:] = data[:SIZE]
        self.migration = {"status": "completed"}
        self.running = bool(data[SIZE]) or FAULT == "runs-unasked"
        return {}

    def query_migrate(self) -> dict[str, Any]:
        """The state of the migration."""
        return self.migration

    def query_status(self) -> dict[str, Any]:
        """Whether it runs. After a migration, the target continues like the source, which may have been paused."""
        return {"status": "running" if self.running else "paused"}

    def stop(self) -> dict[str, Any]:
        """Pauses."""
        self.running = False
        return {}

    def cont(self) -> dict[str, Any]:
        """Continues."""
        if FAULT == "back-aborts" and self.migration:
            os.abort()
        self.running = True
        return {}

    # -- qtest --------------------------------------------------------------------------------------------------------

    def access(self, line: str) -> bool:
        """Answers a qtest access."""
        if FAULT == "qtest-silent":
            return False
        if FAULT == "qtest-nonsense":
            answer = "WHAT 1"
        elif FAULT == "qtest-no-number":
            answer = "OK many"
        elif FAULT == "qtest-fails":
            answer = "FAIL unknown command"
        else:
            answer = self.carry_out(*line.split())
        self.qtest.sendall(answer.encode() + b"\n")
        return False

    def carry_out(self, verb: str, *words: str) -> str:
        """Carries out an access; returns the answer."""
        numbers = [int(word, 0) for word in words]
        width = {"b": 1, "w": 2, "l": 4, "q": 8}[verb[-1]]
        if verb.startswith("out"):
            port, value = numbers
            if port == 0xCF8:
                self.chosen = value & 0xFC
            elif self.chosen == BAR:
                self.address = value & ~(SIZE - 1) & 0xFFFF_FFFF
            return "OK"
        if verb.startswith("in"):
            return f"OK {self.address if self.chosen == BAR else 0:#x}"
        offset = numbers[0] - self.address
        if verb.startswith("write"):
            self.memory[offset : offset + width] = numbers[1].to_bytes(8, "little")[:width]
            return "OK"
        if offset == COUNTER:
            self.count += self.runs()
            return f"OK {self.count:#x}"
        return f"OK {int.from_bytes(self.memory[offset : offset + width], 'little'):#x}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
