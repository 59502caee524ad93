# SPDX-License-Identifier: GPL-2.0-only
"""What goes into the journal: the run, and each case."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from .. import __version__
from ..profiles import shipped
from ..results import events, inflight
from ..results.journal import FORMAT, Journal, JournalError
from ..results.measuring import Measuring
from ..results.setting import (
    ChosenPlan,
    GivenFile,
    JudgedProfile,
    KernelWarning,
    LeftOut,
    NotBlocking,
    Selection,
    Skip,
    Waiver,
)
from ..results.totals import count
from ..results.verdict import EXIT_BROKEN, Verdict, gravest
from ..run.reaching import kernel_release
from ..run.session import Session
from ..states.identity import driver_version
from .given_states import announced
from .selection import rule_of
from .stash import (
    CATALOGUE,
    COUNTED,
    HANDOVER,
    JOURNAL,
    KERNEL_WARNINGS,
    MEASURING,
    OBSERVATIONS,
    PHASES,
    PLAN,
    SESSION,
    STATES,
    WAIVER_FILES,
    WAIVERS,
)
from .tries import TRIES


def begin_journal(config: pytest.Config, cases: list[pytest.Item], planned: list[pytest.Item]) -> None:
    """Open the journal once there is something to run, with everything that a report needs to know about the run.

    ``planned`` are the cases that the plan has for the profile, of which ``cases`` were selected.
    """
    path: Path | None = config.getoption("--journal")
    if path is None:
        return
    profile = config.stash[SESSION].profile
    journal = config.stash[JOURNAL] = Journal(
        path,
        config.getoption("--progress-fd"),
        config.getoption("--clock-offset"),
        lock=config.getoption("--inflight-fd"),
        sync=profile.device.transport != "vfio-user" and not inflight.in_guest(),
    )
    config.add_cleanup(journal.close)
    if handover := config.stash.get(HANDOVER, None):
        journal.write(events.Process(handover.number, handover.why, handover.round))
        return
    journal.write(_run(config, planned))
    if config.getoption("--shuffle"):
        journal.write(events.Note(f"cases in a random order (--shuffle --seed {config.getoption('--seed')})"))
    for state in announced(config.stash[STATES]):
        journal.write(state)
    journal.write(events.Plan(tuple((item.nodeid, str(rule_of(item))) for item in cases)))


def _run(config: pytest.Config, planned: list[pytest.Item]) -> events.Run:
    profile, catalogue, plan = config.stash[SESSION].profile, config.stash[CATALOGUE], config.stash[PLAN]
    of_device = [rule for rule in map(str, map(rule_of, planned)) if not catalogue.rules[rule].of_the_suite]
    device = {
        "vendor": profile.vendor,
        "product": profile.product,
        "driver": " ".join(filter(None, (profile.driver, profile.version))),
    }
    return events.Run(
        format=FORMAT,
        version=__version__,
        profile=JudgedProfile(shipped.called(profile.path), profile.name, profile.digest),
        description=profile.description,
        interfaces=tuple(profile.interfaces),
        device={key: value for key, value in device.items() if value},
        kernel=kernel_release(),
        defects=tuple(config.getoption("--defect")),
        seed=config.getoption("--seed"),
        limits=asdict(profile.limits),
        plan=ChosenPlan(
            plan.name,
            plan.given,
            tuple(LeftOut(each.rule, each.reason) for each in plan.left_out),
            tuple(NotBlocking(each.reason, each.rule, each.level) for each in plan.not_blocking),
            plan.depth,
            plan.source.digest,
        ),
        selection=Selection(
            only=tuple(config.getoption("--only")),
            exclude=tuple(config.getoption("--exclude")),
            rules=len(set(of_device)),
            cases=len(of_device),
        ),
        skips=tuple(Skip(each.case, each.reason) for each in profile.skip),
        waivers=tuple(Waiver(**asdict(each), where=where) for each, where in config.stash[WAIVERS]),
        times={name: value for name, value in asdict(profile.times).items() if value is not None},
        rounds=config.getoption("--rounds"),
        kernel_warnings=tuple(
            KernelWarning(**asdict(each), where=where) for each, where in config.stash[KERNEL_WARNINGS]
        ),
        waiver_files=tuple(GivenFile(each.source.file, each.source.digest) for each in config.stash[WAIVER_FILES]),
        driver_version=driver_version(config.stash[SESSION]),
        areas=catalogue.areas,
        rules=tuple(catalogue),
        shuffled=config.getoption("--shuffle"),
    )


def emit(config: pytest.Config, event: events.Event) -> None:
    """Put an event into the journal. A run without a journal is not worth continuing."""
    if JOURNAL in config.stash:
        try:
            config.stash[JOURNAL].write(event)
        except JournalError as error:
            pytest.exit(str(error), EXIT_BROKEN)


def end_journal(config: pytest.Config) -> None:
    """Close the journal of a run without a watcher; a watcher closes its own."""
    if JOURNAL in config.stash and config.getoption("--progress-fd") is None:
        try:
            config.stash[JOURNAL].end()
        except JournalError as error:
            pytest.exit(str(error), EXIT_BROKEN)


def record(item: pytest.Item, opened: Session, seconds: float) -> Verdict:
    """Put the case into the journal; its verdict."""
    phases = item.stash[PHASES]
    verdict = gravest(phase.verdict for phase in phases)
    # A phase that passed does not outweigh one that was not applicable.
    if verdict is Verdict.PASS and any(phase.verdict is Verdict.NOT_APPLICABLE for phase in phases):
        verdict = Verdict.NOT_APPLICABLE
    decisive = next(phase for phase in phases if phase.verdict is verdict)
    tracer = opened.transport.tracer
    observed: dict[str, str] = item.stash.get(OBSERVATIONS, {})
    counted = (tracer.counts.passes, tracer.counts.call_ns, tracer.counts.reset_ns)
    before = item.config.stash.get(COUNTED, (0, 0, 0))
    item.config.stash[COUNTED] = counted
    passes, call_ns, reset_ns = map(int.__sub__, counted, before)
    calls, spans = item.stash[TRIES].take(tracer)
    if MEASURING not in item.config.stash:
        item.config.stash[MEASURING] = Measuring(opened.used_regions)
    opened.emit(
        events.End(
            case=item.nodeid,
            rule=str(rule_of(item)),
            verdict=verdict,
            seconds=round(seconds, 6),
            failure=decisive.failure,
            failed_call=decisive.call,
            observed=observed,
            stands_on=tuple(span for span in spans if span.case != item.nodeid),
            calls=calls,
            totals=count(calls),
            measures=item.config.stash[MEASURING].take(calls),
            passes=passes,
            call_ns=call_ns,
            reset_ns=reset_ns,
            seeded="seed" in getattr(item, "fixturenames", ()),
        )
    )
    return verdict


def record_opening(opened: Session) -> None:
    """Put the calls that opened the device into the journal."""
    opened.emit(events.Opening(tuple(opened.transport.tracer.take())))
