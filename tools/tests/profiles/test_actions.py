# SPDX-License-Identifier: GPL-2.0-only
"""Python files of a profile, analysed without being run."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from descriptors import same_descriptors

from vfio_compliance.profiles import ProfileError
from vfio_compliance.profiles.actions import Function, Parameter, functions, load
from vfio_compliance.profiles.document import LARGEST_FILE


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], Path]:
    """Writes a file; returns its path as in a profile."""
    monkeypatch.chdir(tmp_path)

    def make(text: str | bytes) -> Path:
        path = Path("my-device.py")
        path.write_bytes(textwrap.dedent(text).encode() if isinstance(text, str) else text)
        return path

    return make


def problem(path: Path) -> str:
    """The only problem of a file."""
    with pytest.raises(ProfileError) as caught:
        functions(path)
    (only,) = caught.value.problems
    assert str(only).isprintable()
    assert len(str(only)) < 400
    return str(only)


def test_functions(written: Callable[[str | bytes], Path]) -> None:
    """Those on the top level, each with the line of its `def` and its parameters."""
    path = written(
        """\
        raise SystemExit  # nothing is run
        def ring(device, iova, length=4, *, value, more=None, **others): pass

        @staticmethod
        def plain(device, /): pass
        class C:
            def method(self): pass
        if True:
            def below(device): pass
        """
    )
    parameters = (
        Parameter("iova", False),
        Parameter("length", True),
        Parameter("value", False),
        Parameter("more", True),
    )
    assert functions(path) == {
        "ring": Function("ring", 2, parameters, takes_all=True),
        "plain": Function("plain", 5),
    }
    assert load(path).text == path.read_text()


def test_arguments_of_a_function() -> None:
    """Its parameters by name, or all variables; parameters without a variable and a default are missing."""
    function = Function("f", 1, (Parameter("iova", False), Parameter("length", True)))
    variables = {"length": 1, "value": 2}
    assert function.arguments(variables) == {"length": 1}
    assert function.missing(variables) == ["iova"]
    assert function.missing({"iova": 1}) == []
    assert Function("f", 1, (), takes_all=True).arguments(variables) == variables


BEFORE_SLASH = (
    "`f` has 1 parameter before `/`, `iova` first, which cannot be filled in by name; only the device may be there"
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("def f(): pass", "`f` has no parameter for the device; it is handed over as the first one"),
        ("def f(*, device): pass", "`f` has no parameter for the device; it is handed over as the first one"),
        ("def f(*device): pass", "`f` has no parameter for the device; it is handed over as the first one"),
        ("async def f(device): pass", "`f` is async; a step calls plain functions"),
        ("def f(device):\n    x = [(yield)]", "`f` has a `yield`; a step calls plain functions"),
        ("def f(device):\n    for x in (1,):\n        yield from x", "`f` has a `yield`; a step calls plain functions"),
        (
            "def f(device, iova, /): pass",
            BEFORE_SLASH,
        ),
        ("def f(device): pass\ndef f(device): pass", "`f` is defined a second time; the first is in line 1"),
        ("def f(device):\n    def g(): yield\n    return lambda: (yield)", None),
        ("def f(device):\n    class C:\n        def g(self): yield", None),
        ("def f(device, *rest): pass", None),
        (f"def f(device):\n    return 1{' + 1' * 900}", None),
    ],
)
def test_functions_that_no_step_can_call(
    written: Callable[[str | bytes], Path], text: str, problem: str | None
) -> None:
    """Each has its problem; the file itself is accepted, since a function may be only a helper of others."""
    assert functions(written(text))["f"].problem == problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(device:\n    pass", "my-device.py:1:"),
        ("def f(device):\n    return 1 +\n", "my-device.py:2:15: Python syntax: invalid syntax"),
        ("def f(device):\n\tpass\n        pass", "my-device.py:3:"),
        ("return 1", "my-device.py:1:1: Python syntax: 'return' outside function"),
        ("def f(device):\n    nonlocal x", "my-device.py:2:5: Python syntax: no binding for nonlocal 'x' found"),
        ("a\0b", "my-device.py"),
        (b"x = 1\ny = '\xe4'", "my-device.py:2:6: not text in UTF-8 (byte 0xe4)"),
        (b"# coding: latin-1\nx = '\xe4'", "my-device.py:2:6: not text in UTF-8 (byte 0xe4)"),
        ("#" * (LARGEST_FILE + 1), "my-device.py: larger than 256 KiB"),
        *((text, "my-device.py: nested too deep for Python") for text in ("x" + ".a" * 100_000, "-" * 250_000 + "1")),
        ("(" * 200_000, "my-device.py:1:201: Python syntax: too many nested parentheses"),
        ("x = " + "9" * 200_000, "my-device.py:1:"),
    ],
    ids=range(13),
)
def test_files_that_are_not_python(written: Callable[[str | bytes], Path], text: str | bytes, message: str) -> None:
    """The message has the place, and comes soon."""
    begin = time.monotonic()
    assert problem(written(text)).startswith(message)
    assert time.monotonic() - begin < 10


def test_a_byte_order_mark_is_accepted(written: Callable[[str | bytes], Path]) -> None:
    """Warnings of the compiler are not printed."""
    assert functions(written(b"\xef\xbb\xbfx = '\\d'\r\ndef f(device): pass\r\n"))["f"].line == 2


def test_paths_without_a_regular_file(written: Callable[[str | bytes], Path], tmp_path: Path) -> None:
    """Nothing blocks, and no descriptor is leaked."""
    written("")
    os.mkfifo("fifo")
    with same_descriptors():
        assert problem(Path("none.py")) == "none.py: cannot be read: No such file or directory"
        assert problem(Path("fifo")) == "fifo: is not a regular file"
        assert problem(Path(".")) == ".: cannot be read: Is a directory"
        assert problem(Path("/dev/zero")) == "/dev/zero: is not a regular file"
        with pytest.raises(ProfileError, match="embedded null byte"):
            functions(Path("a\0b"))
