# SPDX-License-Identifier: GPL-2.0-only
"""Functions of a Python file beside the profile: their parameters, accesses and results."""

from __future__ import annotations

import errno
import os
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance.device import DeviceError
from vfio_compliance.run.actions import ActionError, Actions
from vfio_compliance.transport import PeerGone

REFUSED = DeviceError("reading", "bytes", "EIO (Input/output error)", errno.EIO)
UNUSABLE = DeviceError("waiting", "0x1", "0x0")


class Registers:
    """Records each access that a file makes, and returns or raises what is held for its verb."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.held: dict[str, Any] = {}

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        if verb.startswith("_"):
            raise AttributeError(verb)

        def do(*arguments: int | bytes | float | str) -> Any:
            self.done.append((verb, *arguments))
            held = self.held.get(verb)
            if isinstance(held, BaseException):
                raise held
            return held

        return do


@pytest.fixture
def device() -> Registers:
    return Registers()


@pytest.fixture
def actions(tmp_path: Path) -> Iterator[Callable[..., Actions]]:
    """Makes the Actions of a file with this text; ends them all."""
    made = []

    def make(text: str, within: float = 30.0) -> Actions:
        file = tmp_path / "my-device.py"
        file.write_text(textwrap.dedent(text))
        made.append(Actions(file, within))
        return made[-1]

    yield make
    for each in made:
        each.close()


def failing(actions: Actions, device: Any, name: str = "go", **variables: Any) -> ActionError:
    """The ActionError of a call."""
    with pytest.raises(ActionError) as caught:
        actions.call(name, device, variables)
    return caught.value


def test_variables_are_passed_by_name(actions: Callable[..., Actions], device: Any) -> None:
    """Each parameter gets the variable of its name, or its default; other variables are not passed."""
    made = actions(
        """\
        def some(device, iova, length=7): return [iova, length]
        def named(device, *, value): return value
        def all(device, **variables): return [*variables.values()]
        def none(device, /): pass
        """
    )
    assert made.call("some", device, {"iova": 1, "value": 2}) == [1, 7]
    assert made.call("some", device, {"length": 1, "iova": 2**64 - 1}) == [2**64 - 1, 1]
    assert made.call("named", device, {"iova": 1, "value": 2}) == [2]
    assert made.call("all", device, {"iova": 1, "value": 2}) == [1, 2]
    assert made.call("none", device, {"iova": 1}) == []


@pytest.mark.parametrize(
    ("given", "values"),
    [
        *(("None", []), ("[]", []), ("0", [0]), ("True", [1]), ("-1", [-1]), ("(1, 2)", [1, 2])),
        ("enum.IntEnum('E', 'ONE').ONE", [1]),
        ("[1] * 4096", [1] * 4096),
    ],
)
def test_values(actions: Callable[..., Actions], device: Any, given: str, values: Sequence[int]) -> None:
    """Numbers are returned unchanged."""
    assert actions(f"import enum\ndef go(device): return {given}").call("go", device, {}) == values


@pytest.mark.parametrize(
    ("given", "different"),
    [("[b'a', bytearray(b'a'), 'a']", 1), ("['b', '\\ud800']", 2)],
    ids=["equal", "different"],
)
def test_text_becomes_a_number(actions: Callable[..., Actions], device: Any, given: str, different: int) -> None:
    """Equal bytes and text give the same number of 64 bits."""
    found = actions(f"def go(device): return {given}").call("go", device, {})
    assert len({*found}) == different
    assert all(0 <= each < 2**64 for each in found)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{}", "TypeError: the action gives a `dict`, not numbers"),
        ("[None]", "TypeError: the action gives a `NoneType`"),
        ("[[1]]", "TypeError: the action gives a `list`"),
        ("1.5", "TypeError: the action gives a `float`"),
        ("(n for n in [1])", "TypeError: the action gives a `generator`"),
        ("2 ** 64", "ValueError: a number does not fit into 64 bits"),
        ("-2 ** 63 - 1", "ValueError: a number does not fit into 64 bits"),
        ("10 ** 5000", "ValueError: a number does not fit into 64 bits"),
        ("[1] * 4097", "ValueError: the action gives more than 4096 values"),
        ("[1] * 10_000_000", "ValueError: the action gives more than 4096 values"),
        ("type('N', (), {'__index__': lambda n: 1 / 0})()", "ZeroDivisionError: division by zero"),
    ],
)
def test_invalid_values(actions: Callable[..., Actions], device: Any, given: str, says: str) -> None:
    """The error names the value and the line of the function; the file can still be used."""
    made = actions(f"n = 0\ndef go(device, bad):\n    if bad: return {given}\n    return 5")
    error = failing(made, device, bad=1)
    assert error.message.startswith(says)
    assert error.place.endswith(("my-device.py:2", "my-device.py:3"))
    assert made.call("go", device, {"bad": 0}) == [5]


VERBS = {
    "read(0, 16, 4)": ("read", 0, 16, 4),
    "read(0xffff, 2 ** 63 - 1, width=8)": ("read", 0xFFFF, 2**63 - 1, 8),
    "write(1, 2, 1, 255)": ("write", 1, 2, 1, 255),
    "write(1, 2, 1, True)": ("write", 1, 2, 1, 1),
    "write(1, 2, 8, 2 ** 64 - 1)": ("write", 1, 2, 8, 2**64 - 1),
    "read_bytes(0, 0, 9)": ("read_bytes", 0, 0, 9),
    "write_bytes(0, 0, b'\\0\\xff')": ("write_bytes", 0, 0, b"\0\xff"),
    "write_bytes(0, 0, bytearray(1 << 24))": ("write_bytes", 0, 0, bytes(1 << 24)),
    "wait(0, 4, 2, equals=1, within=2)": ("wait", 0, 4, 2, 1, 2.0, 2**64 - 1),
    "wait(0, 4, 2, 1, 0.5, mask=3)": ("wait", 0, 4, 2, 1, 0.5, 3),
    "read_file('/sys/x')": ("read_file", "/sys/x"),
    "read_file(pathlib.Path('/sys/x'))": ("read_file", "/sys/x"),
    "write_file('/sys/x', 'ä\\n')": ("write_file", "/sys/x", "ä\n"),
    "enable_irq(1)": ("enable_irq", 1, 0),
    "enable_irq(1, 5)": ("enable_irq", 1, 5),
    "disable_irq(2)": ("disable_irq", 2),
    "trigger_irq(1, vector=2)": ("trigger_irq", 1, 2),
    "unmask_irq(0)": ("unmask_irq", 0, 0),
    "count_irq(0)": ("count_irq", 0, 0),
    "wait_irq(1, within=0.25)": ("wait_irq", 1, 0, 0.25),
}
GIVEN = {"read": 2**64 - 1, "read_bytes": b"\0\1" * 1000, "read_file": "ü\n", "count_irq": 3}


@pytest.mark.parametrize("call", VERBS)
def test_verbs(actions: Callable[..., Actions], device: Any, call: str) -> None:
    """Each access is made as requested, and its result is returned."""
    made = actions(f"import pathlib\ndef go(device): return [repr(device.{call})]")
    device.held = GIVEN
    values = made.call("go", device, {})
    assert device.done == [VERBS[call]]
    expected = GIVEN.get(str(VERBS[call][0]))
    check = actions(f"def go(device): return [repr({expected!r})]")
    assert values == check.call("go", device, {})


WRONG = {
    "read(0, 16, 3)": "ValueError: `width` must be 1, 2, 4 or 8, not 3",
    "read(0, -1, 4)": "ValueError: `offset` must be an integer from 0x0 to 0x7fffffffffffffff, not -1",
    "read(65536, 0, 4)": "ValueError: `region` must be an integer from 0x0 to 0xffff, not 0x10000",
    "read('0', 0, 4)": "ValueError: `region` must be",
    "read(0.0, 0, 4)": "ValueError: `region` must be",
    "read(None, 0, 4)": "ValueError: `region` must be",
    "read(b'', 0, 4)": "TypeError",
    "read(10 ** 5000, 0, 4)": "ValueError: a number does not fit into 64 bits",
    "read(0)": "TypeError",
    "write(0, 0, 1, 256)": "ValueError: `value` does not fit into 8 bits",
    "write(0, 0, 1, -1)": "ValueError: `value` must be",
    "read_bytes(0, 0, (1 << 24) + 1)": "ValueError: `size` must be",
    "write_bytes(0, 0, 'text')": "TypeError",
    "wait(0, 0, 1, 256, 1)": "ValueError: `equals` does not fit into 8 bits",
    "wait(0, 0, 1, 1, 1, mask=256)": "ValueError: `mask` does not fit into 8 bits",
    "wait(0, 0, 1, 2, 1, mask=1)": "ValueError: `equals` has bits outside the mask 0x1",
    "wait(0, 0, 1, 1, float('nan'))": "ValueError: `within` must be a number of seconds",
    "wait(0, 0, 1, 1, float('inf'))": "ValueError: `within` must be a number of seconds",
    "wait(0, 0, 1, 1, -1)": "ValueError: `within` must be a number of seconds",
    "read_file('')": "ValueError: `path` must be the path of a file",
    "read_file('a\\0b')": "ValueError: `path` must be the path of a file",
    "read_file(5)": "ValueError: `path` must be the path of a file",
    "write_file('/x', 'y' * (1 << 21))": "ValueError: a text of 2097152 bytes is too large",
    "enable_irq(2 ** 32)": "ValueError: `index` must be",
    "format()": "AttributeError",
    "_ask('close')": "the action `go` sent the run an invalid request",
    "_ask('__class__')": "the action `go` sent the run an invalid request",
    "_ask('read', 1)": "the action `go` sent the run an invalid request",
}


@pytest.mark.parametrize("call", WRONG)
def test_an_invalid_access(actions: Callable[..., Actions], device: Any, call: str) -> None:
    """Nothing is done; the error has the line of the request."""
    made = actions(f"def go(device):\n    device.{call}\ndef good(device): return 1")
    error = failing(made, device)
    assert error.message.startswith(WRONG[call])
    assert not device.done
    assert error.place.endswith(":1" if "sent" in error.message else ":2")
    assert made.call("good", device, {}) == [1]


REFUSING = """\
    n = 0
    def plain(device):
        device.read(0, 0, 4)
    def caught(device):
        global n
        n += 1
        try:
            device.read(0, 0, 4)
        except device.Refused as error:
            assert isinstance(error, OSError)
            return [n, error.errno or 0, str(error)]
    def many(device):
        for number in range(1000):
            try: device.read(0, 0, 4)
            except OSError as error: first = first if number else error
        raise first
    def wrapped(device):
        try: device.read(0, 0, 4)
        except OSError as error: raise KeyError("x") from error
    def made(device):
        raise device.Refused(5, "my own")
    """


@pytest.mark.parametrize("refusal", [REFUSED, UNUSABLE], ids=["errno", "none"])
def test_a_refused_access(actions: Callable[..., Actions], device: Any, refusal: DeviceError) -> None:
    """The file may catch it. If it does not, the caller gets the device's own error, and the file can still be used."""
    made = actions(REFUSING)
    device.held = {"read": refusal}
    with pytest.raises(DeviceError) as caught:
        made.call("plain", device, {})
    assert caught.value is refusal
    assert made.call("caught", device, {})[:2] == [1, refusal.errno or 0]
    with pytest.raises(DeviceError):
        made.call("plain", device, {})
    assert made.call("caught", device, {})[0] == 2


def test_an_error_that_is_not_a_refusal(actions: Callable[..., Actions], device: Any) -> None:
    """Another error raised from a refusal, an old refusal, or one that the file made up are faults of the file."""
    made = actions(REFUSING)
    device.held = {"read": REFUSED}
    assert failing(made, device, "wrapped").message == "KeyError: 'x'"
    assert failing(made, device, "made").message == "Refused: [Errno 5] my own"
    error = failing(made, device, "many")
    assert error.message.startswith("Refused: [Errno 5] reading: expected bytes")
    assert error.place.endswith("my-device.py:14")


@pytest.mark.parametrize("raised", [PeerGone("it died", "see why"), KeyboardInterrupt(), ZeroDivisionError()], ids=repr)
def test_other_exceptions_of_an_access(actions: Callable[..., Actions], device: Any, raised: BaseException) -> None:
    """They are passed on unchanged, and the process is ended."""
    made = actions("n = 0\ndef go(device):\n    global n\n    n += 1\n    device.read(0, 0, 4)\n    return n")
    device.held = {"read": 0}
    assert [made.call("go", device, {}) for _ in range(2)] == [[1], [2]]
    device.held = {"read": raised}
    with pytest.raises(type(raised)) as caught:
        made.call("go", device, {})
    assert caught.value is raised
    device.held = {"read": 0}
    assert made.call("go", device, {}) == [1]


def test_functions_that_cannot_be_called(actions: Callable[..., Actions], device: Any) -> None:
    """Each is named with its line, without the file being run."""
    made = actions(
        """\
        raise AssertionError
        def ring(device, iova): pass
        async def later(device): pass
        def nothing(): pass
        """
    )
    error = failing(made, device, "rnig")
    assert error.message == "the file has no function `rnig`; did you mean `ring`?"
    error = failing(made, device, "ring", value=1)
    assert error.message == "there is no variable for the parameter `iova` of `ring`; available here: value"
    assert error.place.endswith("my-device.py:2")
    assert "is async" in failing(made, device, "later").message
    assert "no parameter for the device" in failing(made, device, "nothing").message


def test_a_missing_file(device: Any, tmp_path: Path) -> None:
    """The error has its path as in the profile."""
    error = failing(Actions(tmp_path / "x.py", 5), device)
    assert "cannot be read" in error.message
    assert error.place == str(tmp_path / "x.py")


def test_a_file_with_a_syntax_error(device: Any, tmp_path: Path) -> None:
    """The error has its line as well."""
    file = tmp_path / "x.py"
    file.write_text("def")
    error = failing(Actions(file, 5), device)
    assert "Python syntax" in error.message
    assert error.place == f"{file}:1"


def test_modules_beside_it(actions: Callable[..., Actions], device: Any, tmp_path: Path) -> None:
    """They are found first. An error in one has the line of the file that called it. No cache is left behind."""
    (tmp_path / "helper.py").write_text("def double(n):\n    return 2 * n\ndef fail():\n    [][0]\n")
    made = actions(
        """\
        import helper
        def go(device, n):
            if n: return helper.double(n)
            helper.fail()
        """
    )
    assert made.call("go", device, {"n": 4}) == [8]
    error = failing(made, device, n=0)
    assert (error.message, error.place) == (
        "IndexError: list index out of range",
        f"{tmp_path / 'my-device.py'}:4",
    )
    assert sorted(os.listdir(tmp_path)) == ["helper.py", "my-device.py"]


@pytest.mark.parametrize("name", ["ü ÿ.py", "new\nline.py", "json.py", "a" * 200 + ".py"], ids=ascii)
def test_odd_names(device: Any, tmp_path: Path, name: str) -> None:
    """A file may have any name; places are printable."""
    file = tmp_path / name
    file.write_text("import json\ndef go(device): return 1\ndef loop(device):\n    while True: pass\n")
    made = Actions(file, 0.5)
    try:
        assert made.call("go", device, {}) == [1]
        error = failing(made, device, "loop")
        assert error.place.isprintable()
        assert error.place.endswith((":4", ":3"))
        assert error.message == "the action `loop` did not end within 0.5 s"
    finally:
        made.close()


def test_what_the_process_inherits(actions: Callable[..., Actions], device: Any) -> None:
    """Only the usual three descriptors and two of its own, no input, and its own session."""
    made = actions(
        """\
        import os, sys
        def go(device):
            names = os.listdir("/proc/self/fd")
            passed = [fd for fd in names if os.path.exists(f"/proc/self/fd/{fd}") and os.get_inheritable(int(fd))]
            return [len(names), len(passed), sys.stdin.read(), os.getsid(0) == os.getppid()]
        """
    )
    with open(os.devnull) as other:
        os.set_inheritable(other.fileno(), True)
        count, passed, read, own = made.call("go", device, {})
    # The listing itself has one open.
    assert (count, passed, own) == (6, 3, 1)
    assert read == actions("def go(device): return ''").call("go", device, {})[0]


def test_a_wait_ends_with_the_call(actions: Callable[..., Actions], device: Any) -> None:
    """A wait that is cut short by the time limit of the action is a fault of the file, not of the device."""
    made = actions("def go(device):\n    device.wait(0, 0, 4, 1, 1000)", within=0.3)
    device.held = {"wait": UNUSABLE}
    with pytest.raises(DeviceError):  # this device fails at once
        made.call("go", device, {})
    (*_, within, _) = device.done[0]
    assert 0 < within <= 0.3

    class Patient(Registers):
        def wait(self, region: int, offset: int, width: int, equals: int, within: float, mask: int) -> None:
            import time

            time.sleep(within)
            raise UNUSABLE

    error = failing(made, Patient())
    assert error.message == "the action `go` did not end within 0.3 s"
    assert error.place.endswith("my-device.py:2")


def test_output_is_shown_with_errors(actions: Callable[..., Actions], device: Any) -> None:
    """The last 4 KiB that the call printed, without the output of earlier calls."""
    made = actions(
        """\
        import sys
        print("at import")
        def say(device, n): print("x" * n, "\\x1b[31m"); sys.stderr.write("end\\n"); 1 / 0
        """
    )
    error = failing(made, device, "say", n=3)
    assert error.output.endswith("xxx \\x1b[31m\nend\n")
    error = failing(made, device, "say", n=100_000)
    assert len(error.output) < 5000
    assert error.output.endswith("x \\x1b[31m\nend\n")
    assert failing(made, device, "say", n=1).output == "x \\x1b[31m\nend\n"


def test_the_child_imports_only_the_standard_library() -> None:
    """The other side is started as a separate script."""
    import ast
    import sys

    from vfio_compliance.run import actions as room

    tree = ast.parse(Path(room.__file__).with_name("child.py").read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names |= {node.module or "." for node in froms}
    assert not any(node.level for node in froms)
    assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names}
