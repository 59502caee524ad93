# SPDX-License-Identifier: GPL-2.0-only
"""The end: what happened to the run itself, its numbers, and the verdict on the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ....common.words import counted, printable
from ....common.wrap import wrap
from ...conclusion import conclude
from ...faults import OF_THE_SUITE
from ...spent import spent
from ...summary import Summary
from ...verdict import Verdict, tally
from .layout import labelled, some

_ANSWER: Final = {True: "yes", False: "no, because the device breaks", None: "unknown, because there is no answer from"}


def ending(summary: Summary, width: int) -> Iterator[str]:
    """What happened to the run, and its numbers."""
    yield from happened(summary, width)
    yield ""
    yield from wrap("", _numbers("", summary.device_verdicts), width)
    if own := summary.suite_verdicts:
        yield from wrap("", _numbers(f" of {OF_THE_SUITE}, not counted", own), width)
    yield from wrap("", _cost(summary), width)
    yield from wrap("", spent(summary), width)
    for answer in summary.answers():
        yield from wrap("", f"{answer.title}: {_ANSWER[answer.works]} {some(answer.because)}".rstrip(), width)


def last(summary: Summary, journal: str) -> Iterator[str]:
    """The last line is the verdict, always in one line."""
    if journal:
        yield f"journal: {journal}"
    yield printable(str(conclude(summary)))


def happened(summary: Summary, width: int) -> Iterator[str]:
    """What happened to the run rather than to a rule."""
    for label, stops in (("stopped", summary.stops), ("hang", summary.hangs)):
        for message, remedy in stops:
            yield ""
            yield from labelled(label, message, width)
            yield from labelled("remedy", remedy, width)
    for label, seen in (("died", summary.deaths), ("kernel", summary.kernel_log)):
        if seen:
            yield ""
            yield from labelled(label, "\n".join(seen), width)


def _numbers(kind: str, verdicts: Mapping[str, Verdict]) -> str:
    listed = ", ".join(f"{number} {verdict}" for verdict, number in tally(verdicts.values()).items())
    return f"{counted(len(verdicts), 'rule')}{kind}: {listed or 'none'}"


def _cost(summary: Summary) -> str:
    """Everything that the run did, including what it did for the suite itself."""
    run = sum(case.verdict is not Verdict.NOT_RUN for case in summary.cases.values())
    rounds = f" in {counted(summary.run.rounds, 'round')}" if summary.run.rounds > 1 else ""
    parts = [f"{run} of {counted(len(summary.cases), 'case')}{rounds}"]
    if totals := summary.totals:
        moved = totals["bytes_read"] + totals["bytes_written"]
        parts += [counted(totals[name], name.removesuffix("s")) for name in ("calls", "opens", "resets")]
        parts += [f"{moved / 1024:.0f} KiB moved", counted(totals["passes"], "full save pass")]
    return ", ".join(parts)
