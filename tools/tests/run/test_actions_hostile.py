# SPDX-License-Identifier: GPL-2.0-only
"""Harmful files of actions: each ends as documented and in time, leaves nothing, and the next call is served."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import IO, Any

import pytest
from descriptors import same_descriptors

from vfio_compliance.run.actions import ActionError, Actions

#: What the process is blamed for in an error, after the words that name the call.
GONE = r"ended its process: killed by SIG{}"
LATE = r"did not end within 0\.25 s"
SENT = r"sent the run an invalid request"

#: What a file does, and the message of the ActionError; None if the call succeeds nevertheless. Those that end only
#: when their time is up are LATE.
DEEDS = {
    "raises": ("1 / 0", "ZeroDivisionError: division by zero"),
    "raises what cannot be shown": (
        "class E(Exception):\n    def __str__(self): raise KeyError\nraise E",
        "an exception that cannot be shown",
    ),
    "raises an exception of an odd class": (
        "class M(type):\n  def __getattribute__(s, n): raise KeyError\nclass E(Exception, metaclass=M): pass\nraise E",
        "E",
    ),
    "raises much": ("raise ValueError('\\x1b\\n' * 1_000_000)", r"ValueError: (\\x1b\\n)+"),
    "raises a lone surrogate": ("raise ValueError('\\ud800')", r"ValueError: \\ud800"),
    "exits": ("sys.exit(3)", "SystemExit: 3"),
    "interrupts itself": ("signal.raise_signal(signal.SIGINT)", "KeyboardInterrupt"),
    "imports what is missing": ("import not_there", "ModuleNotFoundError: No module named 'not_there'"),
    "recurses": ("def f(): f()\nf()", "RecursionError"),
    "crashes": ("import ctypes; ctypes.string_at(0)", GONE.format("SEGV")),
    "ends": ("print('bye'); os._exit(3)", r"ended its process: exit status 3; the last line that it printed: bye"),
    "ends well": ("os._exit(0)", "ended its process: exit status 0"),
    "aborts": ("os.abort()", GONE.format("ABRT")),
    "kills itself": ("os.kill(os.getpid(), 9)", GONE.format("KILL")),
    "terminates its group": ("os.killpg(0, 15); time.sleep(100)", GONE.format("TERM")),
    "sends its group a signal": ("signal.signal(15, signal.SIG_IGN); os.killpg(0, 15)", None),
    "kills its group": ("os.killpg(0, 9)", GONE.format("KILL")),
    "kills its parent": ("os.kill(os.getppid(), 9); time.sleep(100)", GONE.format("KILL")),
    "kills its parent and stays": (
        "import ctypes; ctypes.CDLL(None).prctl(1, 0, 0, 0, 0); os.kill(os.getppid(), 9); time.sleep(100)",
        GONE.format("KILL"),
    ),
    "is killed by a real-time signal": ("os.kill(os.getpid(), 40)", "ended its process: killed by signal 40"),
    "is killed by its timer": ("signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(100)", GONE.format("ALRM")),
    "loops": ("while True: pass", LATE),
    "loops in C": ("sum(range(10 ** 13))", LATE),
    "sleeps": ("time.sleep(1000)", LATE),
    "stops": ("os.kill(os.getpid(), signal.SIGSTOP)", LATE),
    "stops its group": ("os.killpg(0, signal.SIGSTOP)", LATE),
    "hides from signals": (
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        [signal.signal(n, signal.SIG_IGN) for n in signal.valid_signals() - {9, 19}]
        while True: pass
        """,
        LATE,
    ),
    "cancels the alarm": ("import faulthandler; faulthandler.cancel_dump_traceback_later()\nwhile True: pass", LATE),
    "becomes a leader": (
        "os.fork() and os._exit(0); os.setsid()\nwhile True: pass",
        "ended its process: exit status 0",
    ),
    "closes descriptors": (
        "os.closerange(0, 1000)",
        r"ended its process: exit status 1|closed the connection of its process to the run",
    ),
    "closes descriptors and stays": (
        "os.closerange(0, 1000)\nwhile True: pass",
        "closed the connection of its process to the run",
    ),
    "becomes another program": (
        "os.execvp('sleep', ['sleep', '1000'])",
        "closed the connection of its process to the run",
    ),
    "prints without end": ("while True: print('x' * 10000)", LATE),
    "prints without end or newline": ("while True: os.write(2, b'\\0' * 65536)", LATE),
    "prints much": ("for _ in range(2000): os.write(1, b'x' * 65536)", None),
    "prints binary data": ("os.write(1, bytes(range(256)) * 10); 1 / 0", "ZeroDivisionError: division by zero"),
    "takes memory": ("bytes(2 << 30)", "MemoryError; an action may use 1 GiB of memory"),
    "takes memory piece by piece": (
        "kept = []\nwhile True: kept.append(bytes(32 << 20))",
        "MemoryError; an action may use 1 GiB of memory",
    ),
    "keeps all memory": (
        """
        sys.kept = []
        for n in (25, 20, 15, 12, 9):
            try:
                while True: sys.kept.append(bytes(1 << n))
            except MemoryError: pass
        """,
        None,
    ),
    "reads its input": ("assert sys.stdin.read() == '' and os.read(0, 5) == b''", None),
    "starts a program": ("import subprocess; subprocess.Popen(['sleep', '1000'])", None),
    "starts a service": ("os.fork() or (os.setsid(), os.fork(), time.sleep(1000))", None),
    "starts a service and ends": (
        "os.fork() or (os.setsid(), os.fork(), time.sleep(1000)); os._exit(0)",
        "ended its process: exit status 0",
    ),
    "starts a service and loops": ("os.fork() or (os.setsid(), os.fork(), os.fork())\nwhile True: pass", LATE),
    "forks and continues twice": ("os.fork()", None),
    "forks often": ("for _ in range(30): os.fork() or time.sleep(1000)", None),
    "leaves a thread": ("threading.Thread(target=lambda: time.sleep(1000)).start()", None),
    "leaves a busy thread": ("threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()", None),
    "goes elsewhere": ("os.chdir('/'); sys.path.clear()", None),
    "forgets modules": ("sys.modules.clear()", None),
    "breaks a module": ("import json; json.dumps = None", "ended its process: exit status 1"),
    "breaks another module": ("import builtins; del builtins.len, builtins.isinstance", "ended its process|NameError"),
    "opens too much": (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0)); open('/dev/null')",
        "OSError",
    ),
    "hooks": (
        "sys.settrace(lambda *a: 1 / 0); sys.setprofile(lambda *a: 1 / 0)\n(lambda: 0)()",
        "ZeroDivisionError|ended",
    ),
    "writes noise": ("os.write(socket(), b'x' * 100); time.sleep(100)", SENT),
    "writes invalid JSON": ("say(b'[1,')", SENT),
    "writes invalid UTF-8": ("say(b'\\xff')", SENT),
    "writes deep JSON": ("say(b'[' * 90000)", SENT),
    "writes a long number": ("say(b'[' + b'9' * 89998 + b']')", SENT),
    "writes an empty list": ("say(b'[]')", SENT),
    "writes a short list": ("say(b'[1]')", SENT),
    "writes an object": ("say(b'{}')", SENT),
    "writes for another call": ("say(b'[9,\"done\",[7]]')", SENT),
    "writes invalid values": ("say(b'[1,\"done\",[1.5]]')", SENT),
    "writes an invalid line": ('say(b\'[1,"failed","x","y",false]\')', SENT),
    "announces much": ("say(b'', 9, 1 << 31)", SENT),
    "announces and is silent": ("say(b'', 9, 9)", LATE),
    "enlarges the alarm": ("os.ftruncate(alarm(), 1 << 30)", "PermissionError"),
    "writes much into the alarm": ("for _ in range(9): os.write(alarm(), b'x' * 10000)", "PermissionError"),
    "scribbles over the alarm": ("os.pwrite(alarm(), b'\\xff' * (1 << 14), 0)\nwhile True: pass", LATE),
    "forges an alarm": (
        """
        forged = f'Thread 0x{threading.get_ident():x}:\\n  File "{__file__}", line 1 in f'
        os.write(alarm(), forged.encode()); os._exit(1)
        """,
        "ended its process|did not end",
    ),
    "hangs up": ("os.close(socket()); time.sleep(100)", "closed the connection of its process to the run"),
}

#: Where it does this.
PLACES = {
    "at import": "{deed}\ndef go(device, n):\n    return n\n",
    "in the call": "def go(device, n):\n    deed()\n    return n\n",
    "between accesses": (
        "def go(device, n):\n    device.read(0, 0, 4)\n    deed()\n    return n * (device.read(0, 0, 4) == 42)\n"
    ),
    "between calls": "def go(device, n):\n    threading.Timer(0.02, deed).start()\n    return n\n",
}

HEAD = """\
import json, os, signal, struct, sys, threading, time
def found(word):
    links = {int(n): f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")}
    return next(n for n, link in links.items() if os.path.exists(link) and word in os.readlink(link))
def socket():
    return found("socket:")
def alarm():
    return found("alarm")
def say(data, size=None, more=0):
    os.write(socket(), struct.pack("<II", len(data) if size is None else size, more) + data)
    time.sleep(100)
"""
GOOD = "def good(device, n):\n    return [device.read(0, 0, 4), n]\n"


class Register:
    """A device of one register."""

    def read(self, region: int, offset: int, width: int) -> int:
        return 42


REGISTER: Any = Register()


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """A word in the environment of every process that is started from now on."""
    word = uuid.uuid4().hex
    monkeypatch.setenv("ACTIONS_MARK", word)
    return word


def marked(word: str) -> list[Any]:
    """The processes that have it in their environment, without zombies."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if f"ACTIONS_MARK={word}".encode() in Path("/proc", name, "environ").read_bytes():
                found.append(int(name))
        except OSError:
            pass
    return found


def left(word: str, seconds: float = 10.0) -> list[Any]:
    """Those that still exist after the given number of seconds."""
    end = time.monotonic() + seconds
    while (found := marked(word)) and time.monotonic() < end:
        time.sleep(0.01)
    return found


def children() -> list[Any]:
    """The processes that were started here and not waited for."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.fixture
def clean(mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the file. At the end, no process, descriptor or file is left."""
    temporary, folder = tmp_path / "tmp", tmp_path / "profile"
    temporary.mkdir()
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = children()
    with same_descriptors():
        yield folder
        assert left(mark) == []
    assert children() == before
    assert os.listdir(temporary) == []
    assert {*os.listdir(folder)} <= {"my-device.py", "once"}


def written(folder: Path, place: str, deed: str) -> Path:
    """The file that does a deed in this place; at import only once, or no later call could be served."""
    deed = textwrap.dedent(deed).strip()
    inside = textwrap.indent(deed, "    ")
    once = (
        f"if not os.path.exists({str(folder / 'once')!r}):\n    open({str(folder / 'once')!r}, 'w').close()\n{inside}\n"
    )
    body = PLACES[place].format(deed=once)
    if "deed()" in body or "deed)" in body:
        body = f"def deed():\n{inside}\n{body}"
    file = folder / "my-device.py"
    file.write_text(HEAD + body + GOOD)
    return file


def allow(actions: Actions, seconds: float) -> None:
    """Changes the time limit: calls that should succeed on a busy machine need more time than those that should not."""
    actions._within = seconds


def check(error: ActionError, message: str, place: str) -> None:
    """The error has this message, and is fit for a report."""
    assert re.search(message, error.message), error.message
    assert re.fullmatch(r".*/my-device\.py:[0-9]+", error.place), error.place
    assert error.message.isprintable()
    assert len(error.message) < 5000
    assert len(error.output) < 5 * 4096
    if place == "at import":
        assert "the action" not in error.message.replace("an action", "")


@contextmanager
def served_afterwards(file: Path, within: float = 20) -> Iterator[Actions]:
    """The Actions of a harmful file: the harm is over in time, and the next call is served."""
    actions = Actions(file, within)
    begin = time.monotonic()
    try:
        yield actions
        assert time.monotonic() - begin < 10
        allow(actions, 20)
        assert actions.call("good", REGISTER, {"n": 7}) == [42, 7]
    finally:
        actions.close()
    assert time.monotonic() - begin < 15


#: Deeds after which the process fails, sooner or later.
SPOILS = {"keeps all memory", "forgets modules"}
in_each_place = pytest.mark.parametrize("place", [place for place in PLACES if place != "between calls"])


@in_each_place
@pytest.mark.parametrize("deed", [deed for deed, (_, message) in DEEDS.items() if message])
def test_harm_that_is_an_error(clean: Path, deed: str, place: str) -> None:
    """It ends with the documented message."""
    does, message = DEEDS[deed]
    assert message
    with served_afterwards(written(clean, place, does), 0.25 if message == LATE else 20) as actions:
        with pytest.raises(ActionError) as caught:
            actions.call("go", REGISTER, {"n": 5})
        check(caught.value, message, place)


@in_each_place
@pytest.mark.parametrize("deed", [deed for deed, (_, message) in DEEDS.items() if not message and deed not in SPOILS])
def test_harm_without_an_effect(clean: Path, deed: str, place: str) -> None:
    """The call succeeds."""
    with served_afterwards(written(clean, place, DEEDS[deed][0])) as actions:
        assert actions.call("go", REGISTER, {"n": 5}) == [5]


@in_each_place
@pytest.mark.parametrize("deed", sorted(SPOILS))
def test_harm_that_shows_sooner_or_later(clean: Path, deed: str, place: str) -> None:
    """Each of two calls succeeds, or says that the process failed."""
    with served_afterwards(written(clean, place, DEEDS[deed][0])) as actions:
        for name in ("go", "good"):
            try:
                actions.call(name, REGISTER, {"n": 6})
            except ActionError as error:
                check(error, r"ended its process|Error", "")


@pytest.mark.unmeasured
@pytest.mark.parametrize("deed", DEEDS)
def test_harm_between_two_calls(clean: Path, deed: str) -> None:
    """The call that caused it succeeds; each of the next two does, or says how the process failed."""
    with served_afterwards(written(clean, "between calls", DEEDS[deed][0])) as actions:
        assert actions.call("go", REGISTER, {"n": 5}) == [5]
        allow(actions, 0.5)
        time.sleep(0.1)  # for the deed, which no call waits for
        for _ in range(2):
            try:
                assert actions.call("good", REGISTER, {"n": 6}) == [42, 6]
            except ActionError as error:
                check(error, r"ended|did not end|closed|sent|Error", "")
                actions.close()


@pytest.mark.parametrize("deed", ["1 / 0", "while True: pass", "sum(range(10 ** 13))", "inner()", "os.listdir(5.5)"])
def test_the_innermost_line_of_the_file_is_named(clean: Path, deed: str) -> None:
    """For an error or a loop, even if it happens in code that the file calls."""
    file = clean / "my-device.py"
    file.write_text(f"import os\ndef inner():\n    x = 1\n    {deed}\ndef go(device):\n    inner()\n")
    actions = Actions(file, 0.4)
    with pytest.raises(ActionError) as caught:
        actions.call("go", REGISTER, {})
    actions.close()
    assert caught.value.place.endswith("my-device.py:4")


HOST = """\
import sys
from pathlib import Path
from vfio_compliance.run.actions import Actions
class Register:
    def read(self, *place):
        print("reading", flush=True)
        {there}
        return 1
actions = Actions(Path(sys.argv[1]), 1000)
actions.call("go", Register(), {{}})
print("idle", flush=True)
sys.stdin.read()
"""


@contextmanager
def hosted(script: str, file: Path) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A test process that runs the script with the file, and its output; its input is open until the end."""
    command = [sys.executable, "-c", script, str(file)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as host:
        assert host.stdout is not None
        yield host, host.stdout


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("there", "does", "last"),
    [
        ("pass", "device.read(0, 0, 4)", "idle"),
        ("pass", "device.read(0, 0, 4)\n    while True: pass", "reading"),
        ("import time; time.sleep(1000)", "device.read(0, 0, 4)", "reading"),
    ],
    ids=["idle", "in the file", "in an access"],
)
def test_nothing_outlives_the_test_process(
    clean: Path, mark: str, number: Signals, there: str, does: str, last: str
) -> None:
    """However it ends, and whatever the file has started."""
    file = clean / "my-device.py"
    file.write_text(
        "import os, subprocess, time\n"
        "subprocess.Popen(['sleep', '1000'])\n"
        "os.fork() or (os.setsid(), os.fork(), time.sleep(1000))\n"
        f"def go(device):\n    {does}\n"
    )
    with hosted(HOST.format(there=there), file) as (host, output):
        while (line := output.readline().decode().strip()) != last:
            assert line
        end = time.monotonic() + 10
        while len(marked(mark)) < 6 and time.monotonic() < end:
            time.sleep(0.01)
        started = len(marked(mark))
        host.send_signal(number)
        host.wait()
    assert started == 6
    assert left(mark) == []


def test_nothing_outlives_the_test_process_except_its_own_fork(clean: Path, mark: str) -> None:
    """The fork keeps the descriptors of the test process open, and is left alone."""
    file = clean / "my-device.py"
    file.write_text("def go(device): device.read(0, 0, 4)\n")
    script = HOST.format(there="pass").replace(
        'print("idle"', "import os, time; fork = os.fork() or time.sleep(1000); print(fork"
    )
    with hosted(script, file) as (host, output):
        assert output.readline() == b"reading\n"
        fork = int(output.readline())
        assert len(marked(mark)) == 4
        host.kill()
        host.wait()
        end = time.monotonic() + 10
        while (still := {*marked(mark)} - {fork}) and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(fork, signal.SIGKILL)
    assert not still


def test_the_file_does_not_outlive_a_stopped_test_process(clean: Path, mark: str) -> None:
    """The file kills its watcher while the test process is stopped."""
    file = clean / "my-device.py"
    file.write_text(
        "import os, sys, time\n"
        "def state(process): return open(f'/proc/{process}/stat').read().rpartition(')')[2].split()[0]\n"
        "def go(device):\n"
        "    above = int(open(f'/proc/{os.getppid()}/stat').read().rpartition(')')[2].split()[1])\n"
        "    device.read(0, 0, 4)\n"
        "    open(os.path.dirname(__file__) + '/once', 'w').close()\n"
        "    while state(above) != 'T': time.sleep(0.01)\n"
        "    os.kill(os.getppid(), 9)\n"
        "    while True: pass\n"
    )
    with hosted(HOST.format(there="pass"), file) as (host, output):
        assert output.readline() == b"reading\n"
        while not (clean / "once").exists():  # the file has its answer, and does not wait for the host
            time.sleep(0.01)
        assert len(marked(mark)) == 3
        host.send_signal(signal.SIGSTOP)
        end = time.monotonic() + 10
        while (still := {*marked(mark)} - {host.pid}) and time.monotonic() < end:
            time.sleep(0.01)
        host.kill()
    assert not still


def test_the_end_of_a_fork_of_the_test_process(clean: Path) -> None:
    """It does not end the process of the file."""
    file = clean / "my-device.py"
    file.write_text("n = 0\ndef go(device):\n    global n\n    n += 1\n    return n\n")
    actions = Actions(file, 5)
    assert actions.call("go", REGISTER, {}) == [1]
    if not (fork := os.fork()):
        try:
            actions.close()
        finally:
            os._exit(0)
    os.waitpid(fork, 0)
    assert actions.call("go", REGISTER, {}) == [2]
    actions.close()


@pytest.mark.parametrize("call", ["socketpair", "pipe2", "memfd_create", "pidfd_open"])
def test_a_machine_short_of_descriptors(clean: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The error says so, and nothing is left behind."""
    file = clean / "my-device.py"
    file.write_text(GOOD)
    actions = Actions(file, 5)

    def short(*arguments: object) -> None:
        monkeypatch.undo()
        raise OSError(24, "Too many open files")

    before = children()
    monkeypatch.setattr(socket if call == "socketpair" else os, call, short)
    with same_descriptors(), pytest.raises(ActionError) as caught:
        actions.call("good", REGISTER, {"n": 1})
    assert caught.value.message == "no process can be started for it: Too many open files"
    assert children() == before
    assert actions.call("good", REGISTER, {"n": 1}) == [42, 1]
    actions.close()


#: What a file may write in place of a request, after the number of the call.
HEADS = [
    *("", '"read"', '"read",0', '"read",0,0,4,0', '"read",[0,0,4]', '"READ",0,0,4', '["read"],0,0,4', '{"read":1}'),
    *(
        '"done"',
        '"done",0',
        '"done",null',
        '"done",{}',
        '"done",[null]',
        '"done",[true]',
        '"done",["1"]',
        '"done",[[]]',
    ),
    *(
        '"done",[18446744073709551616]',
        '"done",[-9223372036854775809]',
        '"done",[1],[2]',
        '"done",[1e0]',
        '"done",[NaN]',
    ),
    *(
        '"failed"',
        '"failed",1',
        '"failed",1,2,false',
        '"failed",null,"x",false',
        '"failed",1.5,"x",false',
        '"failed",[],"x",0',
    ),
    *(
        '"refused"',
        '"refused",1',
        '"refused",null,1,"x"',
        '"refused",1,1,null',
        '"refused",1,[],"x"',
        '"refused","1",1,"x"',
    ),
    *('"__class__"', '"held"', "null", "0,0", "1e999", '"ready",5', '"load","x",1', '"gave",1'),
]


def test_invalid_requests(clean: Path) -> None:
    """Each is refused, whatever its number of a call."""
    heads = [f"[1{',' * bool(head)}{head}]" for head in HEADS]
    heads += [f'[{number},"done",[7]]' for number in ("0", "2", "-1", "1.0", "true", "null", "[]", '"1"')]
    file = clean / "my-device.py"
    file.write_text(HEAD + f"HEADS = {heads!r}\ndef send(device, which): say(HEADS[which].encode())\n" + GOOD)
    for which in range(len(heads)):
        actions = Actions(file, 5)
        with pytest.raises(ActionError) as caught:
            actions.call("send", REGISTER, {"which": which})
        assert re.search(SENT, caught.value.message), heads[which]
        actions.close()


def test_threads_of_the_file_take_turns(clean: Path) -> None:
    """Accesses of several threads do not mix, and a remaining thread does not disturb later calls."""
    file = clean / "my-device.py"
    file.write_text(
        HEAD + "found = []\n"
        "def reads(device, offset): found.append({device.read(0, offset, 8) - offset for _ in range(200)})\n"
        "def go(device):\n"
        "    threads = [threading.Thread(target=reads, args=(device, 1000 * n)) for n in range(4)]\n"
        "    [each.start() for each in threads]; [each.join() for each in threads]\n"
        "    return [each == {0} for each in found]\n"
        "def endless(device):\n"
        "    while True:\n"
        "        try: assert device.read(0, 5, 8) == 5\n"
        "        except RuntimeError: time.sleep(0)\n"
        "def start(device): threading.Thread(target=endless, args=(device,)).start()\n"
        "def good(device, n): return [n, device.read(0, n, 8)]\n"
    )

    class Echo:
        def read(self, region: int, offset: int, width: int) -> int:
            return offset

    echo: Any = Echo()

    actions = Actions(file, 30)
    assert actions.call("go", echo, {}) == [1] * 4
    actions.call("start", echo, {})
    assert [actions.call("good", echo, {"n": n}) for n in range(50)] == [[n, n] for n in range(50)]
    actions.close()


@pytest.mark.parametrize("catches", [True, False], ids=["caught", "not caught"])
def test_an_access_interrupted_by_a_signal_handler(clean: Path, catches: bool) -> None:
    """Its answer is never taken as that of the next access."""
    file = clean / "my-device.py"
    file.write_text(
        HEAD + "def stop(number, frame): raise TimeoutError\n"
        "def go(device):\n"
        "    signal.signal(signal.SIGALRM, stop)\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.05)\n"
        f"    try: device.read(0, 1, 8)\n    except {'TimeoutError' if catches else 'KeyError'}: pass\n"
        "    return device.read(0, 2, 8)\n" + GOOD
    )

    class Slow:
        def read(self, region: int, offset: int, width: int) -> int:
            time.sleep(0.3 * (offset == 1))
            return offset

    slow: Any = Slow()

    actions = Actions(file, 5)
    with pytest.raises(ActionError) as caught:
        actions.call("go", slow, {})
    assert "exit status 1; the last line that it printed: an exception, such as" in caught.value.message
    assert actions.call("good", slow, {"n": 1}) == [0, 1]
    actions.close()


def test_threads_of_the_run_take_turns(clean: Path) -> None:
    """Each gets the answer to its own call."""
    file = clean / "my-device.py"
    file.write_text(GOOD)
    actions = Actions(file, 30)
    with ThreadPoolExecutor(4) as pool:
        given = [*pool.map(lambda n: actions.call("good", REGISTER, {"n": n}), range(200))]
    assert given == [[42, n] for n in range(200)]
    actions.close()


def test_the_process_ends_with_its_object(clean: Path, mark: str) -> None:
    """Even without close()."""
    file = clean / "my-device.py"
    file.write_text(GOOD)
    actions = Actions(file, 5)
    assert actions.call("good", REGISTER, {"n": 1}) == [42, 1]
    assert len(marked(mark)) == 2
    del actions
    assert left(mark) == []


def test_a_process_that_has_ended_between_two_calls(clean: Path, mark: str) -> None:
    """The next call is served by another one, without an error."""
    file = clean / "my-device.py"
    file.write_text(HEAD + "def go(device): threading.Timer(0.02, lambda: os._exit(3)).start()\n" + GOOD)
    actions = Actions(file, 5)
    actions.call("go", REGISTER, {})
    assert left(mark) == []
    assert actions.call("good", REGISTER, {"n": 1}) == [42, 1]
    actions.close()


def test_a_fork_that_returns_ends(clean: Path, mark: str) -> None:
    """It sends no answer."""
    file = clean / "my-device.py"
    file.write_text(HEAD + "def go(device): os.fork()\n" + GOOD)
    actions = Actions(file, 5)
    for n in range(5):
        actions.call("go", REGISTER, {})
        assert actions.call("good", REGISTER, {"n": n}) == [42, n]
    end = time.monotonic() + 10
    while len(marked(mark)) > 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(marked(mark)) == 2
    actions.close()


def test_closing_twice_and_before_the_first_call(clean: Path) -> None:
    """It does nothing, and the next call is served."""
    file = clean / "my-device.py"
    file.write_text(GOOD)
    actions = Actions(file, 5)
    actions.close()
    for _ in range(3):
        assert actions.call("good", REGISTER, {"n": 1}) == [42, 1]
        actions.close()
        actions.close()
