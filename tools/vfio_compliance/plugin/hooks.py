# SPDX-License-Identifier: GPL-2.0-only
"""The hooks: open the device, run each case, keep the journal."""

from __future__ import annotations

import gc
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from .. import profiles, rules
from ..common.calls import BODY, CLEAN_UP, OPENING, SET_UP
from ..common.moment import count_calls
from ..common.rule_names import current
from ..common.words import counted
from ..device import DeviceError
from ..interfaces import INTERFACES
from ..profiles import shipped, waiver_files
from ..results import events
from ..results.failure import Failure
from ..results.handover import Handover
from ..results.inflight import Inflight
from ..results.journal import JournalError
from ..results.verdict import Verdict
from ..run.checks import NotApplicable, RuleBroken, Unjudged
from ..run.errors import Broken, Lost
from ..run.kernel_marks import KernelMarks
from ..run.session import Session
from ..sections import PROFILE
from ..states.archive import StateError
from ..transport import CallTimeout, TransportError
from .given_states import give_states, kept_states
from .journal import begin_journal, emit, end_journal, record, record_opening
from .options import SHORTENING, data_store, plan_of, stress_seconds
from .options import pytest_addoption as pytest_addoption
from .selection import arrange, plan_cases, rule_of, select
from .selection import pytest_generate_tests as pytest_generate_tests
from .stash import (
    BEGAN,
    CATALOGUE,
    CUT,
    DATA,
    HANDOVER,
    KERNEL_WARNINGS,
    LOST,
    MARKS,
    OBSERVATIONS,
    PHASES,
    PLAN,
    SECONDS,
    SESSION,
    STATES,
    STRESS,
    WAIVER_FILES,
    WAIVERS,
    Phase,
)
from .tries import GOOD, TRIES, Tries
from .verdicts import ENDS_THE_RUN, blamed, judge

pytest_plugins = ["vfio_compliance.plugin.fixtures", *(interface.fixtures for interface in INTERFACES)]


#: A rule of which this many cases hung is not run any further: each one costs a deadline.
_MOST_CUT = 3

#: The run came to its end, even if nothing was selected.
_ENDED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "rule(id): the rule that the test judges")
    config.addinivalue_line("markers", "deep: a case that only a plan of full depth has")
    config.addinivalue_line("markers", "stimulus: it needs the device to do something by the profile's stimulus")
    path = config.getoption("--profile")
    if path is None:
        return
    config.stash[STRESS] = stress_seconds(config)
    handover: Path | None = config.getoption("--handover")
    try:
        profile = profiles.load(shipped.file_of(path), PROFILE)
        catalogue = config.stash[CATALOGUE] = rules.load(Path(config.rootpath, "suites"))
        config.stash[PLAN] = plan_of(config, catalogue)
        files = config.stash[WAIVER_FILES] = [waiver_files.load(path) for path in config.getoption("--waivers")]
        config.stash[WAIVERS] = waiver_files.together(profile, files, catalogue.rules)
        config.stash[KERNEL_WARNINGS] = waiver_files.warnings_together(profile, files)
        session = config.stash[SESSION] = Session(profile, config.getoption("--defect"), INTERFACES)
        config.stash[STATES] = kept_states(config.getoption("--state"), profile)
        if handover is not None:
            config.stash[HANDOVER] = Handover.read(handover)
    except (profiles.ProfileError, rules.SpecError, StateError, Broken, OSError) as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[CUT] = Counter(config.stash[HANDOVER].cut if handover else {})
    if config.option.seed is None:
        config.option.seed = random.randrange(1 << 32)
    session.emit = partial(emit, config)
    config.stash[MARKS] = KernelMarks(profile)
    tracer = session.transport.tracer
    count_calls(lambda: tracer.last)
    store = config.stash[DATA] = data_store(config)
    tracer.keep = store.keep if store else None
    if (inflight := config.getoption("--inflight-fd")) is not None:
        tracer.on_begin = Inflight(inflight).begin
    if config.getoption("--progress-fd") is not None:
        # The watcher ends the process this way; the device must then be closed as at the end of any run.
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if CATALOGUE not in config.stash:
        if any(rule_of(item) for item in items) and not config.option.collectonly:
            raise pytest.UsageError("name the device to judge: --profile profiles/NAME.yaml")
        return
    planned = plan_cases(config, items)
    wanted = select(config, planned)
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = arrange(config, [item for item in items if item in wanted])
    limit = config.stash[SESSION].profile.limits.test
    if (seconds := config.stash[STRESS]) is not None:
        limit += seconds + SHORTENING
    for item in items:
        item.add_marker(pytest.mark.timeout(limit))
    try:
        begin_journal(config, items, planned)
    except JournalError as error:
        raise pytest.UsageError(str(error)) from None
    if handover := config.stash.get(HANDOVER, None):
        items[:] = [item for item in items if item.nodeid not in handover.done]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Open the device first. True, which means that all is done, if that fails."""
    opened = session.config.stash.get(SESSION, None)
    if opened is None or session.config.option.collectonly:
        return None
    gc.freeze()  # the cases stay: scanning them repeatedly takes a tenth of the run
    gc.enable()
    if session.testsfailed:
        _stop(session, "the suites could not be loaded", "see pytest.log in the folder of the run")
        return True
    handover = session.config.stash.get(HANDOVER, None)
    opened.transport.tracer.enter(OPENING)
    try:
        opened.start(handover.way if handover else 0)
    except CallTimeout as error:
        opened.emit(events.Hang(error.message, error.remedy, None))
        return True
    except (Broken, TransportError) as error:
        _stop(session, error.message, error.remedy)
        return True
    finally:
        record_opening(opened)
    session.config.stash[BEGAN] = time.monotonic() - (handover.seconds if handover else 0.0)
    return None


def _stop(session: pytest.Session, message: str, remedy: str) -> None:
    """Report why the remaining cases will not be run."""
    if not session.shouldstop:
        session.config.stash[SESSION].emit(events.Broken(message, remedy, None))
        session.shouldstop = f"{message} ({remedy})"


def _stop_in_time(session: pytest.Session, opened: Session) -> None:
    """Stop when the time for the run is up."""
    limit = opened.profile.limits.run + (session.config.stash[STRESS] or 0)
    if time.monotonic() - session.config.stash[BEGAN] > limit:
        _stop(session, f"the run takes longer than {limit:g} s", "raise limits.run in the profile, or use --only")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    opened = config.stash.get(SESSION, None)
    if opened is None:
        return
    if BEGAN in config.stash and not session.shouldstop and exitstatus in _ENDED:
        give_states(opened, config.stash[STATES])
    opened.finish()
    opened.report_deaths()
    if (store := config.stash[DATA]) and store.complaint:
        opened.note(store.complaint)
    counts = opened.transport.tracer.counts
    opened.emit(
        events.Finish(
            calls=sum(counts.verbs.values()),
            opens=counts.opens,
            resets=counts.resets,
            bytes_read=counts.bytes_read,
            bytes_written=counts.bytes_written,
            passes=counts.passes,
            call_ns=counts.call_ns,
            reset_ns=counts.reset_ns,
        )
    )
    end_journal(config)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run the case, and again if what an earlier case left may be to blame for a failure. True: it is over."""
    opened = item.config.stash.get(SESSION, None)
    if opened is None:
        return None
    item.config.stash[MARKS].begin(item.nodeid)
    emit(item.config, events.Start(item.nodeid, str(rule_of(item))))
    opened.transport.tracer.begin(item.nodeid)
    opened.judges(str(rule_of(item)))
    tries = item.stash[TRIES] = Tries()
    if reason := _left_out(item, opened):
        item.stash[PHASES] = [Phase(Verdict.NOT_RUN, Failure(reason, skipped=True))]
        record(item, opened, 0.0)
        return True
    reports = [_run(item, opened, nextitem)]
    while tries.again:
        tries.again = False
        if isinstance(item, pytest.Function):
            item._initrequest()
        reports.append(_run(item, opened, nextitem))
    if counted_reports := reports[tries.counts]:
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in counted_reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _run(item: pytest.Item, opened: Session, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    """Run the test; pytest's reports, which take longer than most cases, only if anyone reads them."""
    if item.config.getoption("--progress-fd") is None:
        return runtestprotocol(item, nextitem=nextitem, log=False)
    hook = item.ihook
    _give_values(item)
    if _passes(item, opened, "setup", partial(hook.pytest_runtest_setup, item=item)):
        _passes(item, opened, "call", partial(hook.pytest_runtest_call, item=item))
    _passes(item, opened, "teardown", partial(hook.pytest_runtest_teardown, item=item, nextitem=nextitem))
    return []


def _give_values(item: pytest.Item) -> None:
    """Give the test the values of its parameters: otherwise pytest makes a fixture of each, which takes longer."""
    if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        item.funcargs["request"] = item._request
        values = item.callspec.params
        for mark in item.iter_markers("parametrize"):
            if not mark.kwargs.get("indirect"):
                names = mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0]
                item.funcargs |= {name: values[name] for name in map(str.strip, names)}


def _passes(item: pytest.Item, opened: Session, when: str, phase: Callable[[], object]) -> bool:
    """Run a phase of the case, and judge it; whether it raised nothing. Raises what ends the run."""
    error: BaseException | None = None
    started = time.perf_counter()
    try:
        phase()
    except (KeyboardInterrupt, pytest.exit.Exception):
        raise
    except BaseException as raised:
        error = raised
        if not isinstance(error, NotApplicable):
            traceback.print_exception(error)
    passed = error is None
    _over(item, opened, when, error, time.perf_counter() - started)
    del error  # its traceback holds this frame, and everything that the case had
    return passed


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    _enter(item, SET_UP)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    _enter(item, BODY)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    _enter(item, CLEAN_UP)


def _enter(item: pytest.Item, part: str) -> None:
    if (opened := item.config.stash.get(SESSION, None)) is not None:
        opened.transport.tracer.enter(part)


def _left_out(item: pytest.Item, opened: Session) -> str:
    """Why the case is not run; empty if it is."""
    rule = str(rule_of(item))
    if item.config.stash[CUT][rule] >= _MOST_CUT:
        return f"{counted(_MOST_CUT, 'case')} of this rule hung or ended the test process"
    for skip in opened.profile.skip:
        if skip.case in item.nodeid or current(skip.case) == rule:
            return f"skipped by the profile: {skip.reason}"
    return ""


def _is_to_run_again(item: pytest.Item, opened: Session, tries: Tries) -> bool:
    """A try of the case is over: whether there must be another one. If not, the one that counts is left to record."""
    in_time = item.stash[SECONDS] < opened.profile.limits.test / 3 and not item.session.shouldstop
    if tries.over(item.stash[PHASES], opened, in_time=in_time):
        tracer = opened.transport.tracer
        tries.calls.append((tracer.take(), tracer.spans))
        tracer.begin(item.nodeid)
        del item.stash[PHASES]
        item.stash.setdefault(OBSERVATIONS, {}).clear()
        return True
    item.stash[PHASES] = tries.phases[tries.counts]
    if tries.blames_another:
        opened.note_once(f"cases of {rule_of(item)} failed only after an earlier case had left something behind")
    return False


def _skip(why: str) -> pytest.ExceptionInfo[BaseException]:
    """What pytest regards as a skipped test: showing any other error takes it tens of milliseconds."""
    try:
        raise pytest.skip.Exception(why)
    except pytest.skip.Exception:
        return pytest.ExceptionInfo.from_current()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, NotApplicable):
        call.excinfo = _skip(str(error))
    report = yield
    opened = item.config.stash.get(SESSION, None)
    if opened is None or not rule_of(item):
        return report
    if isinstance(error, NotApplicable):
        report.longrepr = (str(item.path), item.location[1] or 0, str(error))
    _over(item, opened, call.when, error, call.duration)
    return report


def _over(item: pytest.Item, opened: Session, when: str, error: BaseException | None, seconds: float) -> None:
    """A phase of a case is over: judge it, and after the last one the case."""
    if isinstance(error, Lost):
        opened.emit(events.Lost(error.message))
        item.config.stash[LOST] = True
        item.session.shouldstop = error.message
        return
    if isinstance(error, ENDS_THE_RUN):
        _stop(item.session, error.message, error.remedy)
    phases = item.stash.setdefault(PHASES, [])
    rule = item.config.stash[CATALOGUE].rules[str(rule_of(item))]
    # A refusal in the test itself counts against the driver; before and after it, or if the suite itself is judged, the
    # rule was not broken. What the suite breaks is our own fault.
    refused = Verdict.FAIL if when == "call" and not rule.of_the_suite else Verdict.NOT_RUN
    judged = judge(error, refused, Verdict.BROKEN if rule.of_the_suite else Verdict.FAIL)
    phases.append(Phase(*judged, blamed(error, opened.transport.tracer)))
    if isinstance(error, TransportError) or phases[-1].verdict is Verdict.HANG:
        opened.lost = True
    seconds = item.stash[SECONDS] = item.stash.get(SECONDS, 0.0) + seconds
    tries = item.stash[TRIES]
    tries.device_blamed |= isinstance(error, (RuleBroken, DeviceError, Unjudged))
    if when != "teardown" or _is_to_run_again(item, opened, tries):
        return
    opened.report_deaths(item.nodeid)
    if LOST not in item.config.stash:  # else the next test process runs the case again
        verdict = record(item, opened, seconds)
        item.config.stash[CUT][str(rule_of(item))] += verdict is Verdict.HANG
        if verdict not in GOOD:
            opened.failed(rule.interface)
        if rule.status == "unspecified":
            opened.left_open(rule.interface)
        _stop_in_time(item.session, opened)
