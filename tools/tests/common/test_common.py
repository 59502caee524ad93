# SPDX-License-Identifier: GPL-2.0-only
"""Wrapped lines, numbers in words, suggestions, processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from vfio_compliance.common import processes
from vfio_compliance.common.signals import terminated_as_interrupted
from vfio_compliance.common.suggest import did_you_mean, similar
from vfio_compliance.common.words import runs
from vfio_compliance.common.wrap import wrap


def test_lines_are_kept_and_wrapped_with_an_indent() -> None:
    """A long line continues below its beginning, the next one starts there, and no word is broken."""
    assert list(wrap("seen ", "one two three\nfour", 12)) == ["seen one two", "     three", "     four"]
    assert list(wrap("", "unbreakable-word a", 4, hanging="  ")) == ["unbreakable-word", "  a"]
    assert list(wrap("seen ", "", 12)) == ["seen "]


def test_runs() -> None:
    """Consecutive numbers are named by the first and the last."""
    assert [*runs([0, 5, 6, 7, 9, 10])] == ["0", "5 to 7", "9 to 10"]
    assert not [*runs([])]


@pytest.mark.parametrize(
    ("word", "found"),
    [("RUN", "run"), ("rnu", "run"), ("reprot", "report"), ("vm", None), ("", None), ("run" * 30, None)],
)
def test_similar(word: str, found: str | None) -> None:
    """The nearest word in any case, or none; overlong words are not compared."""
    assert similar(word, ["run", "report"]) == found


def test_question() -> None:
    """It has all the words found."""
    assert did_you_mean() == did_you_mean(None) == ""
    assert did_you_mean("a", None, "a") == "; did you mean `a`?"
    assert did_you_mean("a", "b") == "; did you mean `a` or `b`?"
    assert did_you_mean("a", "b", "c") == "; did you mean `a`, `b` or `c`?"


def started(script: str) -> tuple[subprocess.Popen[bytes], str]:
    """A process that runs a script, once it has printed a line, and the line."""
    process = processes.start([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, process.stdout.readline().decode()


FAMILY = """\
import subprocess, signal, time
{first}
child = subprocess.Popen(["sleep", "1000"])
print(child.pid, flush=True)
{last}
"""


@pytest.mark.parametrize(
    ("first", "last", "code"),
    [
        ("", "time.sleep(1000)", -signal.SIGTERM),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "time.sleep(1000)", -signal.SIGKILL),
        ("", "", 0),
    ],
    ids=["asked", "killed", "gone"],
)
def test_a_whole_group_ends(first: str, last: str, code: int) -> None:
    """Its children end with a process, whether it obeys SIGTERM, has to be killed or has exited already."""
    process, child = started(FAMILY.format(first=first, last=last))
    if not last:
        assert processes.await_exit(process, 10)
        assert process.returncode is None
    processes.end(process, 0.2, 10)
    assert process.returncode == code
    until = time.monotonic() + 10
    while os.path.exists(f"/proc/{int(child)}") and time.monotonic() < until:
        with open(f"/proc/{int(child)}/stat") as stat:
            if stat.read().rpartition(")")[2].split()[0] == "Z":
                break
    assert time.monotonic() < until
    processes.end(process, 0.2, 10)  # a second call does nothing
    assert process.stdout is not None
    process.stdout.close()


def test_sigterm_as_an_interruption() -> None:
    """SIGTERM raises KeyboardInterrupt in the block, and its handler is restored after it."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminated_as_interrupted():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
