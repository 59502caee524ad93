# SPDX-License-Identifier: GPL-2.0-only
"""Many queries, in any order, from any base, before and after queries that fail; and rounds of a migration."""

from collections.abc import Callable

import pytest

from vfio_compliance.common.words import counted
from vfio_compliance.dirty_type1.grammar import DEEP, DRAWN, FAILING, OPEN, PROMISED, Scripts
from vfio_compliance.dirty_type1.guest_memory import Answer
from vfio_compliance.dirty_type1.histories import Histories
from vfio_compliance.dirty_type1.rounds import MANY_ROUNDS, Tally
from vfio_compliance.dirty_type1.scripts import FAILING as FAILING_STEPS
from vfio_compliance.dirty_type1.scripts import SCRIPTS, SOUND, holding
from vfio_compliance.run.checks import Unjudged

#: Fewer rounds than this prove little.
FEWEST_ROUNDS = 5


ALL = [*SCRIPTS, *PROMISED, *OPEN, *FAILING, *DRAWN]


def going_deep(names: Scripts) -> list[pytest.ParameterSet]:
    """Scripts for a run of full depth."""
    return [pytest.param(name, marks=pytest.mark.deep) for name in names]


@pytest.mark.rule("dirty.history.nothing-lost")
@pytest.mark.stimulus
@pytest.mark.parametrize("script", [*SOUND, *PROMISED, *DRAWN, *going_deep(DEEP)])
def test_nothing_lost(histories: Histories, script: str) -> None:
    """Whatever the requests and their order, a written page is reported by the next bitmap that covers it."""
    histories.survives(script)
    histories.judge(script, Answer.complete, left_open=False)


@pytest.mark.rule("dirty.history.failed-query-keeps")
@pytest.mark.stimulus
@pytest.mark.parametrize("script", [*holding(*FAILING_STEPS), *FAILING])
def test_failed_query_keeps(histories: Histories, script: str) -> None:
    """A query that fails in the middle loses nothing: what it did not return is reported by the next one."""
    histories.survives(script)
    histories.judge(script, Answer.complete)


@pytest.mark.rule("dirty.history.any-range")
@pytest.mark.stimulus
@pytest.mark.parametrize("script", OPEN)
def test_any_range(histories: Histories, script: str) -> None:
    """Whatever ranges are queried, refused or unmapped, what was written is reported nevertheless."""
    histories.survives(script)
    histories.judge(script, Answer.complete, left_open=True)


@pytest.mark.rule("dirty.history.any-range")
@pytest.mark.stimulus
@pytest.mark.parametrize("script", [*DRAWN, *going_deep(DEEP)])
def test_drawn_ranges(histories: Histories, script: str) -> None:
    """The same in any order, with anything else that can happen to the pages in between."""
    histories.judge(script, Answer.complete, left_open=True)


@pytest.mark.rule("dirty.history.nothing-else")
@pytest.mark.stimulus
@pytest.mark.parametrize("script", [*ALL, *going_deep(DEEP)])
def test_nothing_else(histories: Histories, script: str) -> None:
    """However often a bitmap is requested, and from whatever base, bits are set only for mapped pages of the range."""
    histories.judge(script, Answer.bounded)


@pytest.mark.rule("dirty.history.clean-is-clear")
@pytest.mark.stimulus
@pytest.mark.usefixtures("known_writes")
@pytest.mark.parametrize("script", [*ALL, *going_deep(DEEP)])
def test_clean_is_clear(histories: Histories, script: str) -> None:
    """If a device's writes are known page by page, no order of queries makes a clean page dirty."""
    histories.judge(script, Answer.exact)


def judge_rounds(tally: Tally) -> None:
    """A round raises its own failures; too few rounds prove little."""
    if tally.rounds < FEWEST_ROUNDS:
        raise Unjudged(f"{counted(tally.rounds, 'round')} only before the time was up (a sixth of limits.test)")


each_copy = pytest.mark.parametrize("unmapping", [False, True], ids=["by bitmaps", "and by unmapping"])
each_writer = pytest.mark.parametrize("stream", [False, True], ids=["single writes", "and a stream of writes"])


@pytest.mark.rule("dirty.history.never-a-false-clean")
@pytest.mark.stimulus
@each_copy
@each_writer
def test_never_a_false_clean(rounds: Callable[..., Tally], stream: bool, unmapping: bool) -> None:
    """A copy of memory that follows only the dirty bitmaps, while the device writes, equals the memory in the end."""
    judge_rounds(rounds(stream=stream, unmapping=unmapping))


@pytest.mark.deep
@pytest.mark.rule("dirty.history.never-a-false-clean")
@pytest.mark.stimulus
@each_copy
@each_writer
def test_never_a_false_clean_for_long(rounds: Callable[..., Tally], stream: bool, unmapping: bool) -> None:
    """The same with more rounds."""
    judge_rounds(rounds(stream=stream, unmapping=unmapping, most=MANY_ROUNDS))
