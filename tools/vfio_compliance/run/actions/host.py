# SPDX-License-Identifier: GPL-2.0-only
"""Calls functions of a profile's Python file, and makes the accesses that they request."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple

from ...common.suggest import did_you_mean, similar
from ...device import DeviceError
from ...profiles import ProfileError
from ...profiles import actions as script
from . import verbs as asked
from .process import Ended, Garbled, Late, Process, printable
from .verbs import Verbs

#: Seconds for the interpreter to start, before the file itself is read.
_START: Final = 30.0

#: Refusals of one call that are kept, in case the file does not handle one.
_REFUSALS: Final = 64

#: Characters of a message that comes from the file, and of its path.
_LONGEST: Final = 1000

#: Most values that an action may give.
_MOST_VALUES: Final = 4096

_CORRECT: Final = "correct the file"

#: Follows a message about exhausted memory.
_MEMORY: Final = "; an action may use 1 GiB of memory"


class ActionError(Exception):
    """A file of actions did not do its job: the set-up is at fault, not the device.

    ``place`` is the line of the file where it went wrong, as ``my-device.py:12``, as far as that is known; ``message``
    says what went wrong, ``remedy`` what to do. ``output`` is the end of what the file printed.
    """

    def __init__(self, place: str, message: str, remedy: str, output: str = "") -> None:
        super().__init__(place, message, remedy, output)
        self.place = place
        self.message = message
        self.remedy = remedy
        self.output = output

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class _Started(NamedTuple):
    """The file in its process; ``thread`` is the id of the process's main thread."""

    process: Process
    thread: int


class Actions:
    """The functions of ``file``; each call may take ``within`` seconds, including its accesses.

    The file is read once. It is loaded in a separate process at the first call; its module's state is kept from call to
    call, until that process ends. Then the next call starts another one.
    """

    def __init__(self, file: Path, within: float) -> None:
        self._file = file
        self._within = within
        self._script: script.Script | None = None
        self._started: _Started | None = None
        self._number = 0
        #: The process answers one call at a time.
        self._turn = threading.Lock()

    def call(self, name: str, verbs: Verbs, variables: Mapping[str, int]) -> list[int]:
        """Call a function with the device and the ``variables`` that it has parameters for; return its values.

        None gives no values, a number itself, bytes and text a number made from their digest, a list one for each item.

        Raises ActionError; DeviceError for a refused access that the function did not handle; and anything else that an
        access raises, which ends the process.
        """
        with self._turn:
            function = self._function(name, variables)
            try:
                return self._call(function, verbs, function.arguments(variables))
            except _Kept as kept:
                raise kept.error from None
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """End the process and everything that it started; a second call does nothing."""
        started, self._started = self._started, None
        if started:
            started.process.end()

    def _function(self, name: str, variables: Mapping[str, int]) -> script.Function:
        functions = self._read().functions
        if name not in functions:
            hint = did_you_mean(similar(name, functions))
            raise ActionError(self._place(0), f"the file has no function `{name}`{hint}", _CORRECT)
        function = functions[name]
        if function.problem:
            raise ActionError(self._place(function.line), function.problem, _CORRECT)
        if missing := function.missing(variables):
            known = ", ".join(variables) or "none"
            message = f"there is no variable for the parameter `{missing[0]}` of `{name}`; available here: {known}"
            raise ActionError(self._place(function.line), message, "rename the parameter, or give it a default")
        return function

    def _read(self) -> script.Script:
        if self._script is None:
            try:
                self._script = script.load(self._file)
            except ProfileError as error:
                problem = error.problems[0]
                raise ActionError(self._place(problem.place.line), printable(problem.message), _CORRECT) from None
        return self._script

    def _call(self, function: script.Function, verbs: Verbs, arguments: dict[str, int]) -> list[int]:
        if self._started and self._started.process.gone:
            self.close()
        started = self._started or self._start()
        self._number += 1
        call = _Call(self, started, function.name, function.line, self._number)
        started.process.forget_output()
        return call.run(["call", self._number, function.name, arguments, self._within], b"", verbs)

    def _start(self) -> _Started:
        """Start the process and load the file. Raises ActionError."""
        try:
            process = Process()
        except OSError as error:
            message = f"no process can be started for it: {error.strerror}"
            raise ActionError(self._place(0), message, "check which resource this machine lacks") from None
        self._started = _Started(process, 0)  # from here on close() ends it
        self._started = _Started(process, self._greeting(process))
        head = ["load", str(self._file), self._within]
        _Call(self, self._started, "", 1, 0).run(head, self._read().text.encode(), None)
        return self._started

    def _greeting(self, process: Process) -> int:
        try:
            return _integer(process.receive(monotonic() + _START)[0], 1)
        except (Ended, Late, Garbled):
            message = f"its process did not start{_last_line(process.output())}"
            raise ActionError(self._place(0), message, "check whether this Python works") from None

    def _place(self, line: int) -> str:
        file = printable(str(self._file))
        return f"{file}:{line}" if line > 0 else file


class _Kept(Exception):
    """Wraps an error that call() raises while the process lives on."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Call:
    """One call of a function, or the loading of the file, which has no name and the number 0."""

    def __init__(self, owner: Actions, started: _Started, name: str, line: int, number: int) -> None:
        self._file, self._place, self._within = owner._file, owner._place, owner._within
        self._process, self._thread = started
        self._line, self._number = line, number
        self._what = f"the action `{name}`" if name else "loading the file"
        self._deadline = monotonic() + self._within
        self._refusals: dict[int, DeviceError] = {}
        self._refused = 0

    def run(self, head: list[Any], blob: bytes, verbs: Verbs | None) -> list[int]:
        """Send the call and make the accesses that it asks for, until it ends. Raises as Actions.call()."""
        self._process.set_alarm()
        try:
            self._process.send(head, self._deadline, blob)
            while True:
                (number, kind, *rest), blob = self._next()
                if type(number) is not int or number != self._number:
                    raise Garbled
                if verbs and asked.is_verb(kind, rest):
                    answer, data = self._access(verbs, kind, rest, blob)
                    self._process.send(answer, self._deadline, data)
                else:
                    return self._ended(kind, rest)
        except Late:
            raise self._late() from None
        except Garbled:
            raise self._error(self._line, f"{self._what} sent the run an invalid request", _CORRECT) from None
        except Ended:
            raise self._gone() from None

    def _next(self) -> tuple[list[Any], bytes]:
        head, blob = self._process.receive(self._deadline)
        if len(head) < 2:
            raise Garbled
        return head, blob

    def _access(self, verbs: Verbs, verb: str, arguments: list[Any], blob: bytes) -> tuple[list[Any], bytes]:
        """Make an access; return the answer for the process. Raises Late, and whatever the verb raises."""
        try:
            request = asked.request(verb, arguments, blob)
        except ValueError as error:
            return ["wrong", str(error)], b""
        left = self._deadline - monotonic()
        if left <= 0:
            raise Late
        try:
            given, data = request.shortened(left).carry_out(verbs)
        except DeviceError as error:
            if monotonic() >= self._deadline:  # the wait was cut short: the device is not to blame
                raise Late from None
            return self._note(error), b""
        return ["gave", given], data

    def _note(self, error: DeviceError) -> list[Any]:
        self._refused += 1
        self._refusals[self._refused] = error
        self._refusals.pop(self._refused - _REFUSALS, None)
        return ["refused", self._refused, error.errno, str(error)[:_LONGEST]]

    def _ended(self, kind: Any, rest: list[Any]) -> list[int]:
        if kind == "done" and len(rest) == 1:
            return _numbers(rest[0])
        if kind == "refused" and len(rest) == 3:
            if error := self._refusals.get(_integer(rest, 0)):
                raise _Kept(error)
            rest = [*rest[1:], False]
        elif kind != "failed" or len(rest) != 3:
            raise Garbled
        line, text, memory = _integer(rest, 0), rest[1], rest[2] is True
        if type(text) is not str:
            raise Garbled
        failure = self._error(line, printable(text[:_LONGEST]) + _MEMORY * memory, _CORRECT)
        raise _Kept(failure) if self._number else failure

    def _late(self) -> ActionError:
        line = _line_of(self._process.alarm(), self._thread, str(self._file)) or self._line
        message = f"{self._what} did not end within {self._within:g} s"
        return self._error(line, message, f"{_CORRECT}, or give it more time")

    def _gone(self) -> ActionError:
        if self._process.hung_up:
            message = f"{self._what} closed the connection of its process to the run"
        elif line := _line_of(self._process.alarm(0), self._thread, str(self._file)):
            return self._error(line, f"{self._what} did not end within {self._within:g} s", _CORRECT)
        else:
            self._process.end()
            message = f"{self._what} ended its process: {_how(self._process.returncode)}"
        last = _last_line(self._process.output())
        return self._error(self._line, message + last + _MEMORY * ("MemoryError" in last), _CORRECT)

    def _error(self, line: int, message: str, remedy: str) -> ActionError:
        return ActionError(self._place(line or self._line), message, remedy, self._process.output())


def _numbers(values: Any) -> list[int]:
    """The values of an action. Raises Garbled."""
    if type(values) is not list or len(values) > _MOST_VALUES:
        raise Garbled
    return [_integer(values, index) for index in range(len(values))]


def _integer(values: list[Any], index: int) -> int:
    if index >= len(values) or type(values[index]) is not int or not -(2**63) <= values[index] < 2**64:
        raise Garbled
    number: int = values[index]
    return number


def _how(code: int | None) -> str:
    if code is None:
        return "it cannot be ended"
    if code >= 0:
        return f"exit status {code}"
    named = -code in set(signal.Signals)  # most real-time signals have no name
    return f"killed by {signal.Signals(-code).name if named else f'signal {-code}'}"


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.split("\n") if line.strip()]
    return f"; the last line that it printed: {lines[-1][:300]}" if lines else ""


def _line_of(record: str, thread: int, file: str) -> int:
    """The innermost line of the file in a record of faulthandler, which has the innermost frame first; 0 for none."""
    shown = file.encode("ascii", "backslashreplace").decode()
    ours = False
    for line in record.split("\n"):
        if found := re.match(r"(?:Current t|T)hread 0x([0-9a-f]{1,32})\b", line):
            ours = int(found[1], 16) == thread
        elif ours and (found := re.fullmatch(r'  File "(.*)", line ([0-9]{1,7}) in .*', line)) and found[1] == shown:
            return int(found[2])
    return 0
