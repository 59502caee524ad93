# SPDX-License-Identifier: GPL-2.0-only
"""The process in which a profile's Python file runs: a script that host.py starts, independent of the project.

It is two processes. The file runs in the worker. The keeper above it only waits: when the worker ends, when the test
process closes the lifeline, and when the test process dies in any way, it ends everything that the file started,
wherever in the process tree that is. No code of the file runs in it.

Worker and test process take turns on a socket. A message is the sizes of two parts, a list in JSON and bytes:

    test process                                     worker
                                                     ["ready", id of its main thread]
    ["load", path, seconds], the content of the file    [0, "done", []], or another end as below
    ["call", number, name, arguments, seconds]       [number, verb, arguments...], bytes: asks for an access
    ["gave", number or null], bytes                  ... continues
    ["refused", which, errno or null, text]          ... raises Refused
    ["wrong", text]                                  ... raises ValueError
                                                     [number, "done", values]
                                                     [number, "failed", line, text, whether it was out of memory]
                                                     [number, "refused", which, line, text]
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import hashlib
import itertools
import json
import operator
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

_SIZES = struct.Struct("<II")

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

#: Bytes of memory that the file may use, and a reserve for reporting that it has used them up.
_MEMORY, _RESERVE = 1 << 30, 64 << 20

#: Seconds in which the keeper ends what the file started.
_SWEEP = 1.0

#: Bytes of a message that are read at once.
_SMALL = 4096

#: Most values that an action may give, and most characters of what an exception says.
_MOST_VALUES, _LONGEST = 4096, 1000


def main(connection: int, alarm: int, lifeline: int, host: int) -> None:
    """Start the worker, which talks on ``connection`` and records in ``alarm`` where it was when its time was up."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.pidfd_open(host)
    if os.getppid() != host:
        os._exit(1)  # it died first, and the number may be that of another process
    # What the file sends to its process group is not for the keeper.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    keeper = os.getpid()
    worker = os.fork()
    if worker:
        os.close(connection)
        os.close(alarm)
        _keep(worker, lifeline, parent)
    os.close(lifeline)
    os.close(parent)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != keeper:
        os._exit(1)
    for descriptor in (connection, alarm):
        os.set_inheritable(descriptor, False)  # the file may start programs
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY + _RESERVE))
    try:
        Worker(socket.socket(fileno=connection), alarm).serve()
    except BaseException as error:  # the file has broken what this relies on, or one of its timers raises here
        traceback.print_exc()
        if isinstance(error, OSError):
            print("the connection of this process to the run is closed", file=sys.stderr)
    finally:
        os._exit(1)  # without waiting for threads of the file


# -- the keeper -------------------------------------------------------------------------------------------------------


def _keep(worker: int, lifeline: int, parent: int) -> NoReturn:
    """Wait for the end of the worker or of the test process, and end in the same way as the worker."""
    ended = os.pidfd_open(worker)
    poll = select.poll()
    for descriptor in (ended, lifeline, parent):
        poll.register(descriptor, select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll()}
    if ended not in ready:
        os.kill(worker, signal.SIGKILL)
    status = os.waitpid(worker, 0)[1]
    _sweep()
    if parent in ready:
        os.killpg(0, signal.SIGKILL)  # no one else is left to do it
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


def _sweep() -> None:
    """End all descendants: those whose parents have ended are children of the keeper."""
    end = time.monotonic() + _SWEEP
    while time.monotonic() < end:
        try:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                for child in _children():
                    with contextlib.suppress(PermissionError):  # it runs as another user
                        os.kill(child, signal.SIGKILL)
                time.sleep(0.001)
        except ChildProcessError:
            return


def _children() -> Iterator[int]:
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                parent = int(stat.read().rpartition(b")")[2].split()[1])
        except OSError:  # it has ended
            continue
        if parent == os.getpid():
            yield int(name)


# -- what the file sees -----------------------------------------------------------------------------------------------


class Refused(OSError):
    """The device refused an access, or gave an unusable answer; ``errno`` is set if it gave one."""

    #: Number of this refusal in its call.
    which = -1


class Device:
    """The device, as an action sees it. Offsets and sizes are in bytes, times in seconds, numbers little-endian.

    Verbs raise Refused if the device refuses, and ValueError for arguments that do not describe an access.
    """

    Refused = Refused

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def read(self, region: int, offset: int, width: int) -> int:
        """The number in a register of 1, 2, 4 or 8 bytes."""
        return self._ask("read", region, offset, width)  # type: ignore[no-any-return]

    def write(self, region: int, offset: int, width: int, value: int) -> None:
        """Write a number into a register of 1, 2, 4 or 8 bytes."""
        self._ask("write", region, offset, width, value)

    def read_bytes(self, region: int, offset: int, size: int) -> bytes:
        """``size`` bytes of a region."""
        return self._ask("read_bytes", region, offset, size)  # type: ignore[no-any-return]

    def write_bytes(self, region: int, offset: int, data: bytes) -> None:
        """Write bytes into a region."""
        self._ask("write_bytes", region, offset, data=data)

    def wait(self, region: int, offset: int, width: int, equals: int, within: float, mask: int | None = None) -> None:
        """Read a register until the bits in ``mask``, by default all, are ``equals``."""
        self._ask("wait", region, offset, width, equals, within, mask)

    def read_file(self, path: str) -> str:
        """The content of a file, such as an attribute in sysfs."""
        return self._ask("read_file", path).decode(errors="surrogateescape")  # type: ignore[no-any-return]

    def write_file(self, path: str, text: str) -> None:
        """Write text into a file."""
        self._ask("write_file", path, data=text.encode(errors="surrogateescape"))

    def enable_irq(self, index: int, vector: int = 0) -> None:
        """Count an interrupt from now on."""
        self._ask("enable_irq", index, vector)

    def disable_irq(self, index: int) -> None:
        """Stop counting, for all vectors of an index."""
        self._ask("disable_irq", index)

    def trigger_irq(self, index: int, vector: int = 0) -> None:
        """Make the driver raise an interrupt."""
        self._ask("trigger_irq", index, vector)

    def unmask_irq(self, index: int, vector: int = 0) -> None:
        """Unmask an interrupt."""
        self._ask("unmask_irq", index, vector)

    def count_irq(self, index: int, vector: int = 0) -> int:
        """How many times an interrupt has come since it was enabled."""
        return self._ask("count_irq", index, vector)  # type: ignore[no-any-return]

    def wait_irq(self, index: int, vector: int = 0, within: float = 1.0) -> None:
        """Wait for the next interrupt."""
        self._ask("wait_irq", index, vector, within)


# -- the worker -------------------------------------------------------------------------------------------------------


class Worker:
    """Loads the file and calls its functions, as requested on a socket."""

    def __init__(self, connection: socket.socket, alarm: int) -> None:
        self._socket = connection
        self._alarm = alarm
        self._process = os.getpid()
        #: Held while a message and its answer are under way: the file may have threads.
        self._turn = threading.Lock()
        #: Number of the call that is being carried out; 0 while none is.
        self._call = 0
        #: Whether an access was begun and its answer has not been read.
        self._torn = False
        self._module = types.ModuleType("vfio_actions")
        self._path = ""

    def serve(self) -> NoReturn:
        """Serve requests until the test process hangs up."""
        self._send(["ready", threading.get_ident()])
        (_, self._path, seconds), text = self._receive()
        self._end(0, self._outcome(lambda: self._load(text.decode()), seconds))
        while True:
            (_, number, name, arguments, seconds), _ = self._receive()
            device = Device(self._ask)
            self._call = number
            outcome = self._outcome(lambda: getattr(self._module, name)(device, **arguments), seconds)  # noqa: B023
            self._end(number, outcome)

    def _load(self, text: str) -> None:
        self._module.__file__ = os.path.abspath(self._path)
        sys.modules[self._module.__name__] = self._module
        sys.path.insert(0, os.path.dirname(self._module.__file__))
        exec(compile(text, self._path, "exec", dont_inherit=True), self._module.__dict__)

    def _outcome(self, act: Callable[[], Any], seconds: float) -> list[Any]:
        """How ``act`` ended, for the test process; if it still runs after ``seconds``, its place goes to the alarm."""
        with contextlib.suppress(RuntimeError, MemoryError, OSError):  # no thread for it; the place is lost then
            # Works whatever the file has done to signals, and while C code does not let other threads run.
            faulthandler.dump_traceback_later(seconds, file=self._alarm)
        try:
            values = _values(act())
            self._disarm()
        except BaseException as error:
            self._disarm()
            return self._failure(error)
        return ["done", values]

    def _disarm(self) -> None:
        """Cancel the alarm; a process that the file forked ends here if it returns from the call."""
        if os.getpid() != self._process:
            os._exit(0)
        faulthandler.cancel_dump_traceback_later()

    def _failure(self, error: BaseException) -> list[Any]:
        memory = isinstance(error, MemoryError)
        if memory:
            _allow(_MEMORY + _RESERVE)
        try:
            line, text = self._line(error), _told(error)
            if isinstance(error, Refused):
                return ["refused", error.which, line, text]
            return ["failed", line, text, memory]
        finally:
            if memory:
                _allow(_MEMORY)

    def _line(self, error: BaseException) -> int:
        """The innermost line of the file in an error's traceback; 0 without one."""
        frames = traceback.walk_tb(error.__traceback__)
        return next(reversed([line for frame, line in frames if frame.f_code.co_filename == self._path]), 0)

    def _end(self, number: int, outcome: list[Any]) -> None:
        with self._turn:
            self._call = 0
            self._check_order()
            self._send([number, *outcome])

    def _ask(self, verb: str, *arguments: Any, data: Any = b"") -> Any:
        """The test process's answer to an access. Raises Refused, ValueError, RuntimeError."""
        message = [_plain(each) for each in arguments]
        with memoryview(data) as view, self._turn:
            if os.getpid() != self._process:
                raise RuntimeError("only the process that was called may use the device, not one that it forked")
            if not self._call:
                raise RuntimeError("the device may be used only during a call")
            self._check_order()
            self._torn = True
            self._send([self._call, verb, *message], view.tobytes())
            (kind, *rest), blob = self._receive()
            self._torn = False
        if kind == "gave":
            return blob if rest[0] is None else rest[0]
        if kind == "wrong":
            raise ValueError(rest[0])
        which, number, text = rest
        refused = Refused(text) if number is None else Refused(number, text)
        refused.which = which
        raise refused

    def _check_order(self) -> None:
        """End the process if an answer was left unread: the next access would take it for its own."""
        if self._torn:
            print("an exception, such as one raised in a signal handler, interrupted an access", file=sys.stderr)
            os._exit(1)

    def _send(self, head: list[Any], blob: bytes = b"") -> None:
        text = json.dumps(head).encode()
        self._socket.sendall(_SIZES.pack(len(text), len(blob)) + text + blob)

    def _receive(self) -> tuple[list[Any], bytes]:
        data = bytearray(self._more(_SMALL))  # most messages are small, and arrive in one piece
        while len(data) < _SIZES.size:
            data += self._more(_SMALL)
        head, blob = _SIZES.unpack_from(data)
        middle, end = _SIZES.size + head, _SIZES.size + head + blob
        while len(data) < end:
            data += self._more(end - len(data))
        return json.loads(data[_SIZES.size : middle]), bytes(data[middle:end])

    def _more(self, size: int) -> bytes:
        data = self._socket.recv(size)
        if not data:
            os._exit(0)  # the test process has hung up
        return data


def _allow(memory: int) -> None:
    with contextlib.suppress(OSError, ValueError):  # the file has lowered it
        resource.setrlimit(resource.RLIMIT_AS, (memory, _MEMORY + _RESERVE))


def _plain(value: Any) -> Any:
    """An argument as JSON has it. Raises TypeError, ValueError."""
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    return _number(value)


def _values(given: Any) -> list[int]:
    """The numbers that an action gives. Raises TypeError, ValueError."""
    if given is None:
        return []
    if not isinstance(given, list | tuple):
        return [_value(given)]
    values = [_value(each) for each in itertools.islice(given, _MOST_VALUES + 1)]
    if len(values) > _MOST_VALUES:
        raise ValueError(f"the action gives more than {_MOST_VALUES} values")
    return values


def _value(given: Any) -> int:
    if isinstance(given, str):
        given = given.encode(errors="surrogatepass")
    if isinstance(given, bytes | bytearray):
        return int.from_bytes(hashlib.blake2b(given, digest_size=8).digest(), "little")
    try:
        return _number(given)
    except TypeError:
        kind = type(given).__name__[:60]
        raise TypeError(f"the action gives a `{kind}`, not numbers, bytes, text, or a list of these") from None


def _number(value: Any) -> int:
    number = operator.index(value)
    if not -(2**63) <= number < 2**64:
        raise ValueError("a number does not fit into 64 bits")
    return int(number)


def _told(error: BaseException) -> str:
    """``ZeroDivisionError: division by zero``, whatever the class of the error does when it is converted."""
    try:
        name, text = type.__getattribute__(type(error), "__name__"), str(error)
    except BaseException:
        return "an exception that cannot be shown"
    return f"{name[:100]}: {text[:_LONGEST]}" if text else str(name[:100])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
