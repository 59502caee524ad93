# SPDX-License-Identifier: GPL-2.0-only
"""The pytest face: selects cases by rule, opens the device, turns what tests raise into verdicts, keeps the journal."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Generator, Iterable
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from . import __version__, profiles, spec
from .checks import NotApplicable, RuleBroken, Unjudged
from .device import DeviceError, Unreachable
from .fixtures import OBSERVATIONS, SESSION
from .results.inflight import Inflight
from .results.journal import FORMAT, Journal
from .results.verdict import Verdict, gravest
from .session import Broken, Session, kernel_release
from .transport import Call, CallTimeout, SetupError, TransportError

pytest_plugins = ["vfio_compliance.fixtures"]

Failure = dict[str, str]

CATALOGUE: pytest.StashKey[spec.Catalogue] = pytest.StashKey()
JOURNAL: pytest.StashKey[Journal] = pytest.StashKey()
PHASES: pytest.StashKey[list[tuple[Verdict, Failure | None]]] = pytest.StashKey()
SECONDS: pytest.StashKey[float] = pytest.StashKey()

#: After these nothing more can be expected of the device or the host.
_ENDS_THE_RUN = (Broken, SetupError)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vfio-compliance")
    group.addoption("--profile", type=Path, help="the device to judge: a file of profiles/")
    group.addoption("--journal", type=Path, help="append every event to this file")
    group.addoption("--progress-fd", type=int, help="write every event to this descriptor too")
    group.addoption("--inflight-fd", type=int, help="note every call in this shared memory before it is made")
    group.addoption("--only", action="append", default=[], help="a rule, the start of one, a clause, or a case")
    group.addoption("--defect", action="append", default=[], help="break the reference device in this way")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "rule(id): the rule that the test judges")
    path = config.getoption("--profile")
    if path is None:
        return
    try:
        profile = profiles.load(path)
        catalogue = config.stash[CATALOGUE] = spec.load(Path(config.rootpath, "suites"))
        journal_path: Path | None = config.getoption("--journal")
        journal = Journal(journal_path, config.getoption("--progress-fd")) if journal_path else None
        session = config.stash[SESSION] = Session(profile, config.getoption("--defect"), journal)
    except (profiles.ProfileError, spec.SpecError, Broken, OSError) as error:
        raise pytest.UsageError(str(error)) from None
    for index, waiver in enumerate(profile.waivers):
        if waiver.rule not in catalogue.rules:
            raise pytest.UsageError(f"{profile.where(f'waivers.{index}.rule')}: there is no rule {waiver.rule}")
    if journal is None or journal_path is None:
        return
    config.stash[JOURNAL] = journal
    if (inflight := config.getoption("--inflight-fd")) is not None:
        session.transport.tracer.on_begin = Inflight(inflight).begin
    journal.write(
        "run",
        format=FORMAT,
        version=__version__,
        profile={"path": str(path), "name": profile.name, "digest": profile.digest},
        description=profile.description,
        interface=profile.interface,
        kernel=kernel_release(),
        defects=config.getoption("--defect"),
        limits=asdict(profile.limits),
        waivers=[
            asdict(waiver) | {"expires": str(waiver.expires) if waiver.expires else None} for waiver in profile.waivers
        ],
        areas=catalogue.areas,
        rules=[asdict(rule) for rule in catalogue],
    )


# -- which cases ------------------------------------------------------------------------------------------------------


def _rule_of(item: pytest.Item) -> str | None:
    marker = item.get_closest_marker("rule")
    return str(marker.args[0]) if marker else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    catalogue = config.stash.get(CATALOGUE, None)
    if catalogue is None:
        return
    judged = [item for item in items if _rule_of(item)]
    if strangers := sorted({str(_rule_of(item)) for item in judged} - catalogue.rules.keys()):
        raise pytest.UsageError(f"tests name rules that no rules.yaml has: {', '.join(strangers)}")
    wanted = _select(catalogue, config.getoption("--only"), judged)
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = [item for item in items if item in wanted]
    limit = config.stash[SESSION].profile.limits.test
    for item in items:
        item.add_marker(pytest.mark.timeout(limit))
    if JOURNAL in config.stash:
        config.stash[JOURNAL].write("plan", cases=[[item.nodeid, _rule_of(item)] for item in items])


def _select(catalogue: spec.Catalogue, patterns: list[str], items: list[pytest.Item]) -> set[pytest.Item]:
    if not patterns:
        return set(items)
    wanted: set[pytest.Item] = set()
    for pattern in patterns:
        rules = {rule.id for rule in catalogue.matching(pattern)}
        found = {item for item in items if _rule_of(item) in rules or item.nodeid.endswith(pattern)}
        if not found:
            names = [*catalogue.rules, *catalogue.clauses]
            near = difflib.get_close_matches(pattern, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; see vfio-compliance list"
            raise pytest.UsageError(f"--only {pattern}: no such rule, clause or case{hint}")
        wanted |= found
    return wanted


# -- the run ----------------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    opened = session.config.stash.get(SESSION, None)
    if opened is None or session.config.option.collectonly or session.testsfailed:
        return
    try:
        opened.start()
    except Broken as error:
        _stop(session, error.message, error.remedy)


def _stop(session: pytest.Session, message: str, remedy: str) -> None:
    if JOURNAL in session.config.stash:
        session.config.stash[JOURNAL].write("broken", message=message, remedy=remedy)
    session.shouldstop = f"{message} ({remedy})"


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    opened = config.stash.get(SESSION, None)
    if opened is None:
        return
    opened.finish()
    if JOURNAL in config.stash:
        counts = opened.transport.tracer.counts
        config.stash[JOURNAL].write(
            "finish",
            calls=sum(counts.verbs.values()),
            opens=counts.opens,
            resets=counts.resets,
            bytes_read=counts.bytes_read,
            bytes_written=counts.bytes_written,
        )


# -- one case ---------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    journal = item.config.stash.get(JOURNAL, None)
    if journal is not None:
        journal.write("start", case=item.nodeid, rule=_rule_of(item))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    opened = item.config.stash.get(SESSION, None)
    if opened is None or not _rule_of(item):
        return report
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, TransportError):
        opened.lost = True
    if isinstance(error, _ENDS_THE_RUN):
        _stop(item.session, error.message, error.remedy)
    if isinstance(error, NotApplicable):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, str(error))
    phases = item.stash.setdefault(PHASES, [])
    rule = item.config.stash[CATALOGUE].rules[str(_rule_of(item))]
    # What the driver answers in the test itself is held against it; before and after, or where the client is
    # judged, it is not the rule that broke.
    phases.append(_judge(error, Verdict.FAIL if call.when == "call" and rule.side != "client" else Verdict.NOT_RUN))
    seconds = item.stash[SECONDS] = item.stash.get(SECONDS, 0.0) + call.duration
    if call.when == "teardown":
        _record(item, opened, seconds)
    return report


def _judge(error: BaseException | None, refused: Verdict) -> tuple[Verdict, Failure | None]:
    """The verdict on one phase of a case, and the reason; ``refused`` is the one for a driver that did not go along."""
    if error is None:
        return Verdict.PASS, None
    if isinstance(error, NotApplicable):
        return Verdict.NOT_APPLICABLE, {"what": str(error)}
    if isinstance(error, Unjudged):
        return Verdict.NOT_RUN, {"what": str(error)}
    if isinstance(error, Unreachable):
        return Verdict.NOT_RUN, _failure(error)
    if isinstance(error, CallTimeout):
        return Verdict.HANG, {"what": error.message, "remedy": error.remedy}
    if isinstance(error, pytest.fail.Exception) and str(error).startswith("Timeout"):
        return Verdict.HANG, {"what": f"the test did not end in time: {error}", "remedy": "see limits.test"}
    if isinstance(error, _ENDS_THE_RUN):
        return Verdict.BROKEN, {"what": error.message, "remedy": error.remedy}
    if isinstance(error, RuleBroken):
        return Verdict.FAIL, _failure(error)
    if isinstance(error, DeviceError):
        return refused, _failure(error)
    if isinstance(error, TransportError):
        return refused, {"what": error.message, "remedy": error.remedy}
    return Verdict.BROKEN, {
        "what": f"the suite itself failed: {error!r}",
        "traceback": "".join(traceback.format_exception(error)),
    }


def _failure(error: RuleBroken | DeviceError) -> Failure:
    return {"what": error.what, "expected": error.expected, "seen": error.seen}


def _record(item: pytest.Item, opened: Session, seconds: float) -> None:
    calls = opened.transport.tracer.take()
    journal = item.config.stash.get(JOURNAL, None)
    if journal is None:
        return
    phases = item.stash[PHASES]
    verdict = gravest(verdict for verdict, _ in phases)
    # A phase that passed says nothing against one that was not applicable.
    if verdict is Verdict.PASS and any(phase is Verdict.NOT_APPLICABLE for phase, _ in phases):
        verdict = Verdict.NOT_APPLICABLE
    journal.write(
        "end",
        case=item.nodeid,
        rule=_rule_of(item),
        verdict=verdict.value,
        seconds=round(seconds, 6),
        failure=next((failure for phase, failure in phases if phase is verdict), None),
        observed=item.stash.get(OBSERVATIONS, {}),
        calls=_compact(calls),
    )


def _compact(calls: Iterable[Call]) -> list[list[Any]]:
    """Calls as JSON, runs of the same call with the same answer as one with a count at the end."""
    compact = []
    for _, group in groupby(calls, key=lambda call: call[:8]):
        same = list(group)
        verb, target, number, length, sent, received, value, errno = same[0][:8]
        microseconds = sum(call.duration_ns for call in same) // 1000
        compact.append(
            [verb, target, number, length, sent.hex(), received.hex(), value, errno, microseconds, len(same)]
        )
    return compact
