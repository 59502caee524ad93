# SPDX-License-Identifier: GPL-2.0-only
"""What goes into the journal: the run, and each case."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from .. import __version__
from ..common.calls import compact
from ..results.journal import FORMAT, Journal, JournalError
from ..results.verdict import EXIT_BROKEN, Verdict, gravest
from ..run.reaching import kernel_release
from ..run.session import Session
from ..transport import Tracer
from .selection import rule_of
from .stash import (
    CATALOGUE,
    HANDOVER,
    JOURNAL,
    OBSERVATIONS,
    PHASES,
    PLAN,
    SESSION,
)


def begin_journal(config: pytest.Config, cases: list[pytest.Item], planned: list[pytest.Item]) -> None:
    """Open the journal once there is something to run, with all that a report needs to know of the run.

    ``planned`` are the cases that the plan has for the profile, of which ``cases`` were selected.
    """
    path: Path | None = config.getoption("--journal")
    if path is None:
        return
    journal = config.stash[JOURNAL] = Journal(path, config.getoption("--progress-fd"))
    if handover := config.stash.get(HANDOVER, None):
        journal.write("process", number=handover.number, why=handover.why)
        return
    profile, catalogue, plan = config.stash[SESSION].profile, config.stash[CATALOGUE], config.stash[PLAN]
    journal.write(
        "run",
        format=FORMAT,
        version=__version__,
        profile={"path": str(profile.path), "name": profile.name, "digest": profile.digest},
        description=profile.description,
        interfaces=profile.interfaces,
        device={
            key: value
            for key, value in (
                ("vendor", profile.vendor),
                ("product", profile.product),
                ("driver", " ".join(filter(None, (profile.driver, profile.version)))),
            )
            if value
        },
        kernel=kernel_release(),
        defects=config.getoption("--defect"),
        seed=config.getoption("--seed"),
        limits=asdict(profile.limits),
        plan={"name": plan.name, "path": str(plan.path), "left_out": [asdict(each) for each in plan.left_out]},
        selection={
            "only": config.getoption("--only"),
            "skip": config.getoption("--skip"),
            "rules": len({rule_of(item) for item in planned}),
            "cases": len(planned),
        },
        skips=[asdict(skip) for skip in profile.skip],
        waivers=[
            asdict(waiver) | {"expires": str(waiver.expires) if waiver.expires else None} for waiver in profile.waivers
        ],
        areas=catalogue.areas,
        rules=[asdict(rule) for rule in catalogue],
    )
    if config.getoption("--shuffle"):
        journal.write("note", text=f"cases in a random order (--shuffle --seed {config.getoption('--seed')})")
    journal.write("plan", cases=[[item.nodeid, rule_of(item)] for item in cases])


def tell(config: pytest.Config, event: str, **fields: Any) -> None:
    """Put an event into the journal. A run without a journal is not worth going on with."""
    if JOURNAL in config.stash:
        try:
            config.stash[JOURNAL].write(event, **fields)
        except JournalError as error:
            pytest.exit(str(error), EXIT_BROKEN)


def record(item: pytest.Item, opened: Session, seconds: float) -> Verdict:
    """Put the case into the journal; its verdict."""
    phases = item.stash[PHASES]
    verdict = gravest(phase.verdict for phase in phases)
    # A phase that passed says nothing against one that was not applicable.
    if verdict is Verdict.PASS and any(phase.verdict is Verdict.NOT_APPLICABLE for phase in phases):
        verdict = Verdict.NOT_APPLICABLE
    told = next(phase for phase in phases if phase.verdict is verdict)
    tracer = opened.transport.tracer
    opened.tell(
        "end",
        case=item.nodeid,
        rule=rule_of(item),
        verdict=verdict.value,
        seconds=round(seconds, 6),
        failure=told.failure,
        failed_call=told.call,
        observed=item.stash.get(OBSERVATIONS, {}),
        stands_on=[span.to_json() for span in tracer.spans if span.case != item.nodeid],
        calls=_calls(tracer),
    )
    return verdict


def tell_opening(opened: Session) -> None:
    """Put into the journal the calls by which the device was opened."""
    opened.tell("opening", calls=_calls(opened.transport.tracer))


def _calls(tracer: Tracer) -> list[dict[str, Any]]:
    return [call.to_json() for call in compact(tracer.take())]
