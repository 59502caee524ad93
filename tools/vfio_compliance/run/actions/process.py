# SPDX-License-Identifier: GPL-2.0-only
"""The process of a file of actions, seen from the test process: messages, output, and its end.

Nothing here waits beyond a deadline, keeps more than a bounded number of bytes, or trusts what it receives.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import select
import socket
import struct
import subprocess
import sys
import weakref
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from ...common import processes

#: Bytes of the largest message that is accepted: its list, and the bytes with it.
_LARGEST_HEAD: Final = 1 << 17
LARGEST_BLOB: Final = 1 << 24

#: Bytes of output that are kept.
TAIL: Final = 4096

#: Bytes of the record of where the file was when its time was up; the kernel prevents larger writes.
_ALARM: Final = 16 * 1024

#: Seconds for that record to be written, and for a process that hung up to end.
_TELLING, _ENDING = 0.5, 0.5

#: Seconds for a process to end everything it started (at most one), and for killed processes to be gone.
_SWEEPING, _DYING = 1.5, 2.0

_SIZES: Final = struct.Struct("<II")
_CHILD: Final = Path(__file__).with_name("child.py")


class Ended(Exception):
    """The process ended, or hung up."""


class Late(Exception):
    """The deadline passed."""


class Garbled(Exception):
    """The received data is not a message."""


class Process:
    """A running process. Creating one starts it, which raises OSError. The creator must call end()."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as always, contextlib.ExitStack() as failed:
            self._socket, theirs = socket.socketpair()
            always.callback(theirs.close)
            failed.callback(self._socket.close)
            lifeline, ours = os.pipe2(os.O_CLOEXEC)
            always.callback(os.close, lifeline)
            failed.callback(os.close, ours)
            self._alarm = _sealed(_ALARM)
            failed.callback(os.close, self._alarm)
            self._process = _start(theirs.fileno(), self._alarm, lifeline)
            assert self._process.stdout is not None
            failed.callback(self._process.stdout.close)
            failed.callback(processes.end, self._process, 0, _DYING)
            self._exit = os.pidfd_open(self._process.pid)
            failed.pop_all()
        self._finish = weakref.finalize(
            self, _finish, self._process, self._socket, (ours, self._exit, self._alarm), os.getpid()
        )
        self._socket.setblocking(False)
        self._received = bytearray()
        self._tail = bytearray()
        #: Its output; -1 once that has ended.
        self._output = self._process.stdout.fileno()
        #: What is waited for on the socket.
        self._asked = select.POLLIN
        self._poll = select.poll()
        for descriptor in (self._socket.fileno(), self._output, self._exit):
            self._poll.register(descriptor, select.POLLIN)

    @property
    def gone(self) -> bool:
        """Whether it has ended or hung up, requested or not."""
        if not self._finish.alive or processes.exited(self._exit):
            return True
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    @property
    def returncode(self) -> int | None:
        """How it ended, as in Popen; None before end(), and if it cannot be ended."""
        return self._process.returncode

    @property
    def hung_up(self) -> bool:
        """Whether it lives on, a moment after Ended was raised."""
        return not processes.exited(self._exit, _ENDING)

    def end(self) -> None:
        """End it with everything that it started; a second call does nothing."""
        if self._finish.alive:
            self.output()
            self._output = -1
        self._finish()

    # -- messages -----------------------------------------------------------------------------------------------------

    def send(self, head: list[Any], deadline: float, blob: bytes = b"") -> None:
        """Send a message by a deadline of monotonic(). Raises Ended, Late."""
        text = json.dumps(head).encode()
        data = memoryview(_SIZES.pack(len(text), len(blob)) + text + blob)
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                self._await(select.POLLOUT, deadline)
            except OSError:
                raise Ended from None

    def receive(self, deadline: float) -> tuple[list[Any], bytes]:
        """The next message, by a deadline of monotonic(). Raises Ended, Late, Garbled."""
        while (message := self._message()) is None:
            self._await(select.POLLIN, deadline)
        return message

    def _message(self) -> tuple[list[Any], bytes] | None:
        have = self._received
        if len(have) < _SIZES.size:
            return None
        head, blob = _SIZES.unpack_from(have)
        if head > _LARGEST_HEAD or blob > LARGEST_BLOB:
            raise Garbled
        middle = _SIZES.size + head
        if len(have) < middle + blob:
            return None
        message = _list(bytes(have[_SIZES.size : middle])), bytes(have[middle : middle + blob])
        del have[: middle + blob]
        return message

    def _await(self, event: int, deadline: float) -> None:
        """Wait until the socket may be read or written, and read it; take the output in the meantime."""
        if event != self._asked:
            self._asked = event
            self._poll.modify(self._socket.fileno(), event)
        came = False
        while not came:
            left = deadline - monotonic()
            if left <= 0:
                raise Late
            ready = dict(self._poll.poll(math.ceil(left * 1000)))
            if self._output in ready:
                self._take_output()
            if self._socket.fileno() in ready:
                came = True
                if event == select.POLLIN:
                    self._take()
            elif self._exit in ready:
                raise Ended

    def _take(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except OSError:  # it hung up with a message unread
            data = b""
        if not data:
            raise Ended
        self._received += data

    # -- its output --------------------------------------------------------------------------------------------------

    def _take_output(self) -> bool:
        data = os.read(self._output, 1 << 16)
        if not data:
            self._poll.unregister(self._output)
            self._output = -1
        self._tail += data
        del self._tail[:-TAIL]
        return bool(data)

    def forget_output(self) -> None:
        """Keep only what is written from now on."""
        self.output()
        self._tail.clear()

    def output(self) -> str:
        """The end of its output, in lines, printable."""
        poll = select.poll()
        for _ in range(64):  # a process that writes endlessly is not followed forever
            if self._output < 0:
                break
            poll.register(self._output, select.POLLIN)
            if not poll.poll(0) or not self._take_output():
                break
        return printable(bytes(self._tail).decode(errors="replace"), lines=True)

    def set_alarm(self) -> None:
        """Clear the record of where the file was when its time was up."""
        if os.pread(self._alarm, 1, 0) != b"\0":
            os.pwrite(self._alarm, bytes(_ALARM), 0)
        os.lseek(self._alarm, 0, os.SEEK_SET)  # the other side has the same position

    def alarm(self, patience: float = _TELLING) -> str:
        """That record, once it is written, or after ``patience`` seconds; empty without one."""
        end = monotonic() + patience
        before, now = b"", self._recorded()
        while (not now or now != before) and monotonic() < end:
            sleep(0.01)
            before, now = now, self._recorded()
        return now.decode(errors="replace")

    def _recorded(self) -> bytes:
        return os.pread(self._alarm, _ALARM, 0).rstrip(b"\0")


def printable(text: str, lines: bool = False) -> str:
    """Text that is harmless to a terminal, on one line or with its ``lines``."""
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def _start(*given: int) -> subprocess.Popen[bytes]:
    """Start the other side with the given descriptors. Raises OSError."""
    # Isolated from the environment, no bytecode next to the user's files, output line by line.
    command = [sys.executable, "-IBu", str(_CHILD), *map(str, given), str(os.getpid())]
    return processes.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=given)


def _sealed(size: int) -> int:
    """The descriptor of memory that cannot grow or shrink."""
    descriptor = os.memfd_create("alarm", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return descriptor


def _list(text: bytes) -> list[Any]:
    """A list in JSON with numbers of at most 64 bits. Raises Garbled."""
    try:
        value = json.loads(text, parse_int=_short)
    except (ValueError, RecursionError):
        raise Garbled from None
    if type(value) is not list or not value:
        raise Garbled
    return value


def _short(digits: str) -> int:
    if len(digits) > 20:  # many digits take long
        raise ValueError
    return int(digits)


def _finish(
    process: subprocess.Popen[bytes], connection: socket.socket, descriptors: tuple[int, int, int], owner: int
) -> None:
    lifeline, ended, alarm = descriptors
    connection.close()
    os.close(lifeline)
    if os.getpid() == owner:  # a fork of the test process that ends must not take it along
        processes.exited(ended, _SWEEPING)
        processes.end(process, 0, _DYING)
    os.close(ended)
    os.close(alarm)
    assert process.stdout is not None
    process.stdout.close()
