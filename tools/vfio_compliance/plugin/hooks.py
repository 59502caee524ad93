# SPDX-License-Identifier: GPL-2.0-only
"""The pytest face: selects cases by rule, opens the device, turns what tests raise into verdicts, keeps the journal."""

from __future__ import annotations

import importlib.util
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from .. import __version__, profiles
from .. import rules as spec
from ..device import DeviceError, Unreachable
from ..profiles import plan as plans
from ..results.handover import Handover
from ..results.inflight import Inflight
from ..results.journal import FORMAT, Journal, JournalError
from ..results.verdict import EXIT_BROKEN, Verdict, gravest
from ..run.checks import NotApplicable, RuleBroken, Silent, Unjudged
from ..run.session import Broken, Lost, Session, kernel_release
from ..transport import Call, CallTimeout, GivenUp, SetupError, TransportError
from .fixtures import OBSERVATIONS, SESSION, SHORTENING, STRESS

pytest_plugins = ["vfio_compliance.plugin.fixtures"]

Failure = dict[str, str]

CATALOGUE: pytest.StashKey[spec.Catalogue] = pytest.StashKey()
JOURNAL: pytest.StashKey[Journal] = pytest.StashKey()
PHASES: pytest.StashKey[list[tuple[Verdict, Failure | None]]] = pytest.StashKey()
SECONDS: pytest.StashKey[float] = pytest.StashKey()
#: When the cases began, in seconds of the monotonic clock.
BEGAN: pytest.StashKey[float] = pytest.StashKey()
#: What an earlier test process left, which this one continues.
HANDOVER: pytest.StashKey[Handover] = pytest.StashKey()
PLAN: pytest.StashKey[plans.Plan] = pytest.StashKey()
#: Set once this test process cannot reach the device any more, and another one may.
LOST: pytest.StashKey[bool] = pytest.StashKey()
#: By rule: how many of its cases hung or ended their process.
CUT: pytest.StashKey[Counter[str]] = pytest.StashKey()

#: A rule of which this number of cases hung is not run any further: each one costs a deadline.
_MOST_CUT = 3

#: After these the device or the host cannot be used any more.
_ENDS_THE_RUN = (Broken, SetupError)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vfio-compliance")
    group.addoption("--profile", type=Path, help="the device to judge: a file of profiles/")
    group.addoption("--journal", type=Path, help="append every event to this file")
    group.addoption("--progress-fd", type=int, help="write every event to this descriptor too")
    group.addoption("--inflight-fd", type=int, help="note every call in this shared memory before it is made")
    group.addoption("--handover", type=Path, help="continue a run: what an earlier test process left")
    group.addoption("--only", action="append", default=[], help="a rule, the start of one, a clause, or a case")
    group.addoption(
        "--skip", action="append", default=[], help="leave out a rule, the start of one, a clause, or a case"
    )
    group.addoption("--plan", type=Path, help="a plan: which rules a run leaves out, and why")
    group.addoption("--seed", type=int, help="of what is random; every run takes another one unless told")
    group.addoption("--shuffle", action="store_true", help="run the cases in a random order, which the seed gives")
    group.addoption("--stress", metavar="TIME", help="run the rules of suites/stress alone, so long")
    group.addoption("--defect", action="append", default=[], help="break the reference device in this way")


def _stress_seconds(config: pytest.Config) -> float | None:
    """For how long to explore; None where that was not asked for."""
    text: str | None = config.getoption("--stress")
    if text is None:
        return None
    if not importlib.util.find_spec("hypothesis"):
        raise pytest.UsageError("--stress needs the package hypothesis: pip install -e '.[stress]'")
    try:
        return profiles.duration(text, "1s", "24h")
    except ValueError as error:
        raise pytest.UsageError(f"--stress: {error}") from None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "rule(id): the rule that the test judges")
    path = config.getoption("--profile")
    if path is None:
        return
    config.stash[STRESS] = _stress_seconds(config)
    handover: Path | None = config.getoption("--handover")
    try:
        profile = profiles.load(path)
        catalogue = config.stash[CATALOGUE] = spec.load(Path(config.rootpath, "suites"))
        config.stash[PLAN] = _plan(config.getoption("--plan"), catalogue)
        session = config.stash[SESSION] = Session(profile, config.getoption("--defect"))
        if handover is not None:
            config.stash[HANDOVER] = Handover.read(handover)
    except (profiles.ProfileError, spec.SpecError, Broken, OSError) as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[CUT] = Counter(config.stash[HANDOVER].cut if handover else {})
    if problems := profile.unknown_rules(catalogue.rules):
        raise pytest.UsageError(str(profiles.ProfileError(problems)))
    if config.option.seed is None:
        config.option.seed = random.randrange(1 << 32)
    session.tell = partial(_tell, config)
    if (inflight := config.getoption("--inflight-fd")) is not None:
        session.transport.tracer.on_begin = Inflight(inflight).begin
    if config.getoption("--progress-fd") is not None:
        # Its watcher ends it so; the device is to be closed then as at the end of any run.
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _plan(path: Path | None, catalogue: spec.Catalogue) -> plans.Plan:
    """The plan of the run. Raises ProfileError."""
    if path is None:
        return plans.DEFAULT
    plan = plans.load(path)
    if problems := plan.problems(catalogue.rules):
        raise profiles.ProfileError(problems)
    return plan


# -- the journal ------------------------------------------------------------------------------------------------------


def _begin_journal(config: pytest.Config, cases: list[pytest.Item], planned: list[pytest.Item]) -> None:
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
            "rules": len({_rule_of(item) for item in planned}),
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
    journal.write("plan", cases=[[item.nodeid, _rule_of(item)] for item in cases])


def _tell(config: pytest.Config, event: str, **fields: Any) -> None:
    """Put an event into the journal. A run without a journal is not worth going on with."""
    if JOURNAL in config.stash:
        try:
            config.stash[JOURNAL].write(event, **fields)
        except JournalError as error:
            pytest.exit(str(error), EXIT_BROKEN)


# -- which cases ------------------------------------------------------------------------------------------------------


def _rule_of(item: pytest.Item) -> str | None:
    marker = item.get_closest_marker("rule")
    return str(marker.args[0]) if marker else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    catalogue = config.stash.get(CATALOGUE, None)
    if catalogue is None:
        if any(_rule_of(item) for item in items) and not config.option.collectonly:
            raise pytest.UsageError("name the device to judge: --profile profiles/NAME.yaml")
        return
    judged = [item for item in items if _rule_of(item)]
    if strangers := sorted({str(_rule_of(item)) for item in judged} - catalogue.rules.keys()):
        raise pytest.UsageError(f"tests name rules that no rules.yaml has: {', '.join(strangers)}")
    claimed = config.stash[SESSION].profile.interfaces
    judged = [item for item in judged if catalogue.rules[str(_rule_of(item))].interface in claimed]
    seconds = config.stash[STRESS]
    judged = [item for item in judged if catalogue.rules[str(_rule_of(item))].on_request == (seconds is not None)]
    judged = [item for item in judged if not config.stash[PLAN].leaves_out(str(_rule_of(item)))]
    only, skip = config.getoption("--only"), config.getoption("--skip")
    wanted = _select(catalogue, "--only", only, judged) if only else set(judged)
    wanted -= _select(catalogue, "--skip", skip, judged)
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = [item for item in items if item in wanted]
    items.sort(key=lambda item: not catalogue.rules[str(_rule_of(item))].blocking)  # what matters most comes first
    if config.getoption("--shuffle"):
        random.Random(config.getoption("--seed")).shuffle(items)
    limit = config.stash[SESSION].profile.limits.test
    if seconds is not None:
        limit += seconds + SHORTENING
    for item in items:
        item.add_marker(pytest.mark.timeout(limit))
    try:
        _begin_journal(config, items, judged)
    except JournalError as error:
        raise pytest.UsageError(str(error)) from None
    if handover := config.stash.get(HANDOVER, None):
        items[:] = [item for item in items if item.nodeid not in handover.done]


def _select(catalogue: spec.Catalogue, option: str, patterns: list[str], items: list[pytest.Item]) -> set[pytest.Item]:
    """The items that any of ``patterns`` names. Raises UsageError for one that names nothing."""
    wanted: set[pytest.Item] = set()
    for pattern in patterns:
        if not pattern:
            raise pytest.UsageError(f"{option} wants a rule, the beginning of one, a clause or a case")
        rules = {rule.id for rule in catalogue.matching(pattern)}
        found = {item for item in items if _rule_of(item) in rules or item.nodeid.endswith(pattern)}
        if not found:
            hint = catalogue.hint(pattern)
            raise pytest.UsageError(f"{option} {pattern}: no such rule, clause or case; {hint}")
        wanted |= found
    return wanted


# -- the run ----------------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Open the device first. True, which means that all is done, when that fails."""
    opened = session.config.stash.get(SESSION, None)
    if opened is None or session.config.option.collectonly:
        return None
    if session.testsfailed:
        _stop(session, "the suites could not be loaded", "see pytest.log in the folder of the run")
        return True
    handover = session.config.stash.get(HANDOVER, None)
    try:
        opened.start(handover.way if handover else 0)
    except CallTimeout as error:
        opened.tell("hang", case=None, message=error.message, remedy=error.remedy)
        return True
    except (Broken, TransportError) as error:
        _stop(session, error.message, error.remedy)
        return True
    opened.transport.tracer.take()  # these calls belong to no case
    session.config.stash[BEGAN] = time.monotonic() - (handover.seconds if handover else 0.0)
    return None


def _stop(session: pytest.Session, message: str, remedy: str) -> None:
    """The reason why the cases that are left will not be run."""
    if not session.shouldstop:
        session.config.stash[SESSION].tell("broken", message=message, remedy=remedy)
        session.shouldstop = f"{message} ({remedy})"


def _stop_in_time(session: pytest.Session, opened: Session) -> None:
    """Stop when the time for the run is up: no lab wants to wait for the rest."""
    limit = opened.profile.limits.run + (session.config.stash[STRESS] or 0)
    if time.monotonic() - session.config.stash[BEGAN] > limit:
        _stop(session, f"the run takes longer than {limit:g} s", "raise limits.run in the profile, or use --only")


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    opened = config.stash.get(SESSION, None)
    if opened is None:
        return
    opened.finish()
    opened.tell_deaths()
    counts = opened.transport.tracer.counts
    opened.tell(
        "finish",
        calls=sum(counts.verbs.values()),
        opens=counts.opens,
        resets=counts.resets,
        bytes_read=counts.bytes_read,
        bytes_written=counts.bytes_written,
        passes=counts.passes,
    )


# -- one case ---------------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Begin the case. True, which means that it is over, for one that is not to be run."""
    opened = item.config.stash.get(SESSION, None)
    if opened is None:
        return None
    _tell(item.config, "start", case=item.nodeid, rule=_rule_of(item))
    if not (reason := _left_out(item, opened)):
        return None
    item.stash[PHASES] = list[tuple[Verdict, Failure | None]]([(Verdict.NOT_RUN, {"what": reason, "skipped": "yes"})])
    _record(item, opened, 0.0)
    return True


def _left_out(item: pytest.Item, opened: Session) -> str:
    """Why the case is not run; nothing when it is."""
    rule = str(_rule_of(item))
    if item.config.stash[CUT][rule] >= _MOST_CUT:
        return f"{_MOST_CUT} cases of this rule hung or ended the test process"
    for skip in opened.profile.skip:
        if skip.case in item.nodeid or skip.case == rule:
            return f"skipped by the profile: {skip.reason}"
    return ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    opened = item.config.stash.get(SESSION, None)
    if opened is None or not _rule_of(item):
        return report
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, Lost):
        opened.tell("lost", message=error.message)
        item.config.stash[LOST] = True
        item.session.shouldstop = error.message
        return report
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
    if isinstance(error, TransportError) or phases[-1][0] is Verdict.HANG:
        opened.lost = True
    seconds = item.stash[SECONDS] = item.stash.get(SECONDS, 0.0) + call.duration
    if call.when == "teardown":
        opened.tell_deaths(item.nodeid)
    if call.when == "teardown" and LOST not in item.config.stash:  # the next test process runs the case again
        verdict = _record(item, opened, seconds)
        item.config.stash[CUT][str(_rule_of(item))] += verdict is Verdict.HANG
        _stop_in_time(item.session, opened)
    return report


def _judge(error: BaseException | None, refused: Verdict) -> tuple[Verdict, Failure | None]:
    """The verdict on one phase of a case, and the reason; ``refused`` is the one for a driver that did not go along."""
    if error is None:
        return Verdict.PASS, None
    if isinstance(error, NotApplicable):
        return Verdict.NOT_APPLICABLE, {"what": str(error)}
    if isinstance(error, Silent):
        return Verdict.NOT_RUN, {"what": str(error), "wants": error.key}
    if isinstance(error, Unjudged):
        return Verdict.NOT_RUN, {"what": str(error)}
    if isinstance(error, Unreachable):
        return Verdict.NOT_RUN, _failure(error)
    if isinstance(error, CallTimeout):
        path = {"path": error.path} if error.path else {}
        return Verdict.HANG, {"what": error.message, "remedy": error.remedy} | path
    if isinstance(error, pytest.fail.Exception) and str(error).startswith("Timeout"):
        return Verdict.HANG, {"what": f"the test did not end in time: {error}", "remedy": "see limits.test"}
    if isinstance(error, _ENDS_THE_RUN):
        return Verdict.BROKEN, {"what": error.message, "remedy": error.remedy}
    if isinstance(error, RuleBroken):
        return Verdict.FAIL, _failure(error) | error.more
    if isinstance(error, DeviceError):
        return refused, _failure(error)
    if isinstance(error, GivenUp):
        return Verdict.NOT_RUN, {"what": error.message, "remedy": error.remedy}
    if isinstance(error, TransportError):
        return refused, {"what": error.message, "remedy": error.remedy}
    return Verdict.BROKEN, {
        "what": f"the suite itself failed: {error!r}",
        "traceback": "".join(traceback.format_exception(error)),
    }


def _failure(error: RuleBroken | DeviceError) -> Failure:
    return {"what": error.what, "expected": error.expected, "seen": error.seen}


def _record(item: pytest.Item, opened: Session, seconds: float) -> Verdict:
    """Put the case into the journal; its verdict."""
    phases = item.stash[PHASES]
    verdict = gravest(verdict for verdict, _ in phases)
    # A phase that passed says nothing against one that was not applicable.
    if verdict is Verdict.PASS and any(phase is Verdict.NOT_APPLICABLE for phase, _ in phases):
        verdict = Verdict.NOT_APPLICABLE
    opened.tell(
        "end",
        case=item.nodeid,
        rule=_rule_of(item),
        verdict=verdict.value,
        seconds=round(seconds, 6),
        failure=next((failure for phase, failure in phases if phase is verdict), None),
        observed=item.stash.get(OBSERVATIONS, {}),
        calls=_compact(opened.transport.tracer.take()),
    )
    return verdict


def _compact(calls: Iterable[Call]) -> list[list[Any]]:
    """Calls as JSON, runs of the same call with the same answer as one with a count, and the digest if there is one."""
    compact = []
    for _, group in groupby(calls, key=lambda call: (*call[:8], call.digest)):
        same = list(group)
        verb, target, number, length, sent, received, value, errno = same[0][:8]
        microseconds = sum(call.duration_ns for call in same) // 1000
        compact.append(
            [verb, target, number, length, sent.hex(), received.hex(), value, errno, microseconds, len(same)]
            + ([same[0].digest] if same[0].digest else [])
        )
    return compact
