# SPDX-License-Identifier: GPL-2.0-only
"""A script through states is judged against the same one without them, and one with its subject before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from vfio_compliance.dirty_type1.course import Course
from vfio_compliance.run.checks import RuleBroken, Unjudged


class Recorder:
    """A fake session, memory and guide: records each call, and fails a play for which ``wrong`` is true."""

    def __init__(self, wrong: Callable[..., Any]) -> None:
        self.plays: list[list[Any]] = []
        self.begun: list[Any] = []
        self._wrong = wrong
        self.session, self.lost = self, False
        self.transport = SimpleNamespace(gone=False)

    def after_reset(self) -> None:
        self.begun.append("reset")

    def begin(self, way: Sequence[str]) -> None:
        self.begun.append([*way])

    @contextmanager
    def guest(self) -> Iterator[Recorder]:
        self.plays.append([])
        yield self
        if self._wrong(self.plays[-1]):
            raise RuleBroken("playing it", "all well", "something wrong")

    def device_went(self, state: str) -> None:
        self.plays[-1].append(f"to {state}")

    def go(self, state: str, *, leaving: bool) -> None:
        self.plays[-1].append("leaving it" if leaving else "staying")

    def device_write(self, *numbers: int) -> None:
        self.plays[-1].append(numbers)


@pytest.fixture(autouse=True)
def verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts here need only one verb."""
    monkeypatch.setattr("vfio_compliance.dirty_type1.course._VERBS", {"dirty": Recorder.device_write})


IN_STATES = [(1, 2), "to stop-and-copy", "leaving it", (3,), "to stop", "staying"]
SCRIPT = ("dirty 1 2", "stop-and-copy", "dirty 3", "stop")


def judged(wrong: Callable[..., Any], **controls: Any) -> tuple[Recorder, Exception | None]:
    """The plays and the error of a course that fails where ``wrong`` is true."""
    recorder = Recorder(wrong)
    part: Any = recorder
    try:
        Course(part, part).judge(*SCRIPT, **controls)
    except (RuleBroken, Unjudged) as error:
        return recorder, error
    return recorder, None


def test_script_that_passes_is_played_once() -> None:
    """The guide gets the path at the start and, in each state, whether the device will leave it."""
    recorder, error = judged(lambda steps: False, subject=("dirty 3",))
    assert recorder.plays == [IN_STATES]
    assert recorder.begun == [["stop-and-copy", "stop"]]
    assert error is None


def test_failure_only_in_states_breaks_the_rule() -> None:
    """Both controls pass: the subject before the states, and no states at all."""
    recorder, error = judged(lambda steps: steps == IN_STATES, subject=("dirty 3",))
    assert recorder.plays[1:] == [
        [(1, 2), (3,), "to stop-and-copy", "leaving it", "to stop", "staying"],
        [(1, 2), (3,)],
    ]
    assert recorder.begun[1:] == ["reset", ["stop-and-copy", "stop"], "reset", []]
    assert isinstance(error, RuleBroken)


def test_failure_with_the_subject_before_is_unjudged() -> None:
    """The states then break something other than the subject."""
    recorder, error = judged(lambda steps: "to stop" in steps, subject=("dirty 3",))
    assert len(recorder.plays) == 2
    assert isinstance(error, Unjudged)
    assert "with dirty 1 2; dirty 3; stop-and-copy; stop" in str(error)


def test_failure_without_the_subject_is_unjudged() -> None:
    """A script may have its own control."""
    recorder, error = judged(lambda steps: "to stop" in steps, without=("dirty 7", "stop"))
    assert recorder.plays[1:] == [[(7,), "to stop", "staying"]]
    assert isinstance(error, Unjudged)


def test_failure_in_running_is_unjudged() -> None:
    """A script without a subject has only this control."""
    recorder, error = judged(lambda steps: True)
    assert recorder.plays[1:] == [[(1, 2), (3,)]]
    assert isinstance(error, Unjudged)
    assert "in running" in str(error)
