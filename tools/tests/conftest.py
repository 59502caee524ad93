# SPDX-License-Identifier: GPL-2.0-only
"""Options of the self-tests."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pytest

from vfio_compliance.plugin.selection import is_deep
from vfio_compliance.results import journal, summary
from vfio_compliance.results.reading import summarise
from vfio_compliance.watch import suites

#: Folders with helper modules that tests import by their bare names.
HELPERS = (
    "../bench",
    ".",
    "clients",
    "fuzz",
    "host",
    "installed",
    "profiles",
    "proofs",
    "refdriver",
    "results",
    "servers",
)
for folder in HELPERS:
    sys.path.insert(0, str(Path(__file__).parent / folder))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--target",
        type=Path,
        default=Path("profiles/reference.yaml"),
        help="the reference device in which defects are switched on: its server, or its kernel module",
    )
    parser.addoption(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="run about every Nth proof, different ones on each kernel",
    )
    parser.addoption(
        "--draw",
        type=int,
        default=0,
        metavar="K",
        help="which proofs --every runs: N consecutive numbers cover all",
    )
    parser.addoption("--runs", type=int, default=3, metavar="N", help="compare the verdicts of N runs")
    parser.addoption("--complete", action="store_true", help="judge each defect by all cases of every rule")
    parser.addoption("--fuzz", type=float, default=1.0, metavar="FACTOR", help="multiply the number of random inputs")
    parser.addoption("--fuzz-seed", type=int, default=1, metavar="N", help="seed of the random inputs")
    parser.addoption("--fuzz-case", type=int, metavar="N", help="run only this case of the random inputs")


def pytest_configure(config: pytest.Config) -> None:
    """The data of hypothesis goes into a folder of this run, not into the checkout."""
    config.addinivalue_line("markers", "unmeasured: fails if the processes that it starts are measured for coverage")
    config.addinivalue_line("markers", "proof: judges one of many devices, of which --every runs a part")
    folder = tempfile.TemporaryDirectory(prefix="vfio-")
    config.add_cleanup(folder.cleanup)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder.name


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Selects some of the proofs with ``--every``, always the same ones for one kernel and one ``--draw``."""
    every: int = max(1, config.getoption("--every"))
    draw: int = config.getoption("--draw")
    kernel = os.uname().release

    def is_selected(item: pytest.Item) -> bool:
        return (zlib.crc32(f"{kernel} {item.name}".encode()) + draw) % every == 0

    dropped = {item for item in items if item.get_closest_marker("proof") and not is_selected(item)}
    config.hook.pytest_deselected(items=[item for item in items if item in dropped])
    items[:] = [item for item in items if item not in dropped]


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Makes signals interrupt the programs that tests start, even if a shell in the background ignores them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Adds numbers, by the name of what they count, to the totals at the end of the run."""

    def add(**numbers: int) -> None:
        request.node.user_properties.append(("counts", {name.replace("_", " "): n for name, n in numbers.items()}))

    return add


@pytest.fixture
def report_line(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints a line below the totals."""
    return lambda line: request.node.user_properties.append(("line", line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what the tests counted and reported, even in other processes."""
    reports = [report for those in terminalreporter.stats.values() for report in those if hasattr(report, "when")]
    properties = [each for report in reports if report.when == "call" for each in report.user_properties]
    totals: Counter[str] = Counter()
    for name, value in properties:
        totals.update(value if name == "counts" else ())
    lines = [f"{number:7} {what}" for what, number in totals.items()]
    if lines := lines + [value for name, value in properties if name == "line"]:
        terminalreporter.section("counts")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def project(pytestconfig: pytest.Config) -> Path:
    """The root of the checkout."""
    return pytestconfig.rootpath


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config, project: Path) -> Path:
    """The profile of the reference device in which defects are switched on."""
    target: Path = pytestconfig.getoption("--target")
    return project / target


def _first(mark: pytest.Mark) -> pytest.Mark:
    """The mark with only the first parameter that is not deep, if there is one."""
    if mark.name != "parametrize" or not isinstance(mark.args[1], Sequence | Mapping):
        return mark
    names, values, *others = mark.args
    place = next((place for place, value in enumerate(values) if not is_deep(value)), None)
    if place is None:
        return mark
    options, ids = dict(mark.kwargs), mark.kwargs.get("ids")
    if isinstance(ids, Sequence | Mapping):
        options["ids"] = list(ids)[place : place + 1]
    return pytest.mark.parametrize(names, list(values)[place : place + 1], *others, **options).mark


#: Plugins that the suites do not use here; hypothesis, for example, is slow to load.
UNUSED = (*suites.UNUSED, "hypothesispytest", "xdist")


class Thin:
    """A pytest plugin that keeps at most ``most`` cases of each rule, spread evenly, and all those in ``whole``."""

    def __init__(self, most: int, whole: Collection[str]) -> None:
        self._most = most
        self._whole = whole

    @pytest.hookimpl(tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Generates only the case that is kept: in emulation, generating the others takes longer than running it."""
        (rule,) = next(metafunc.definition.iter_markers("rule")).args
        if self._most == 1 and rule not in self._whole:
            marks = metafunc.definition.own_markers
            marks[:] = map(_first, marks)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        cases: defaultdict[str, list[pytest.Item]] = defaultdict(list)
        for item in items:
            (rule,) = next(item.iter_markers("rule")).args
            cases[rule].append(item)
        kept = {item for rule, those in cases.items() for item in (those if rule in self._whole else self._few(those))}
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]

    def _few(self, cases: list[pytest.Item]) -> list[pytest.Item]:
        """Some cases, of those that are not deep if there are any."""
        shallow = [case for case in cases if not case.get_closest_marker("deep")] or cases
        return shallow[:: -(-len(shallow) // self._most)]


@pytest.fixture(scope="session")
def judge_in_process(project: Path) -> Callable[..., summary.Summary]:
    """Runs suites in this process, as starting others takes seconds on an emulated machine; returns the result.

    Takes a profile, the folder for the journal, and options or cases for pytest; without cases, all suites. ``most``
    cases of each rule are run, but all of those in ``whole``.
    """

    def judge(
        profile: Path, out: Path, *options: str, most: int | None = None, whole: Collection[str] = ()
    ) -> summary.Summary:
        path = out / journal.NAME
        where = [] if any("::" in option for option in options) else [str(project / "suites")]
        pytest.main(
            [
                *("-qq", "--tb=no", f"--rootdir={project}", *(f"-pno:{plugin}" for plugin in UNUSED)),
                *(f"--profile={profile}", f"--journal={path}", *where, *options),
            ],
            plugins=[Thin(most, whole)] if most else [],
        )
        return summarise(journal.read(path))

    return judge
