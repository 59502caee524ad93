# SPDX-License-Identifier: GPL-2.0-only
"""The line of a terminal that keeps changing while the suites run, and the lines that stay above it."""

from __future__ import annotations

import time
from typing import Final, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from ..common.screen import console
from ..results.writers.terminal.colour import paint

#: Seconds between two updates, and the columns of a terminal that has room for a bar.
_EVERY: Final = 0.1
_ROOM_FOR_A_BAR: Final = 90


class _Rate(ProgressColumn):
    """Cases a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.0f}/s" if speed >= 10 else f"{speed:.1f}/s")


class Bar:
    """How many cases are done, how fast, how long the rest will take, and which one is running."""

    def __init__(self, out: TextIO, width: int) -> None:
        self._console = console(out, width)
        text = TextColumn(
            "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
        )
        bar = [BarColumn(bar_width=20)] if width >= _ROOM_FOR_A_BAR else []
        self._progress = Progress(
            *(*bar, MofNCompleteColumn(), _Rate(), TimeRemainingColumn(compact=True), text),
            console=self._console,
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            expand=True,
        )
        self._task = self._progress.add_task("", total=None)
        self._shown = 0.0

    def line(self, text: str) -> None:
        """A line that stays."""
        self._console.print(paint(text))

    def begin(self, cases: int) -> None:
        """``cases`` cases will be run."""
        self._progress.reset(self._task, total=cases)
        self._progress.start()
        self._console.show_cursor(True)  # so that it is not lost if this process is killed

    def status(self, done: int, text: str) -> None:
        """``done`` cases are done, and ``text`` is under way."""
        self._progress.update(self._task, completed=done, description=text)
        if time.monotonic() - self._shown >= _EVERY:
            self._progress.refresh()
            self._shown = time.monotonic()

    def end(self) -> None:
        """Only the lines stay."""
        self._progress.stop()
