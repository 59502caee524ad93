# SPDX-License-Identifier: GPL-2.0-only
"""Judges every style by the suite of a checkout, old or new, and compares the result with what is expected.

    python tools/tests/foreign/matrix.py [--project DIR] [--styles a,b*] [--only v1|dirty] [--most N] [--jobs 2]
                                         [--out FOLDER] [--again] [--list]

It reads the journals as plain JSON and imports nothing of any checkout.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple, Protocol

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import profiles  # noqa: E402
from style import Style  # noqa: E402
from styles import STYLES  # noqa: E402

BROKEN = {"fail", "hang", "kernel", "stale"}

#: A plugin for any checkout: keeps N cases of each rule, spread evenly, and all cases of some rules.
THIN = """
from collections import defaultdict
import os
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    most, whole, cases = int(os.environ["FOREIGN_MOST"]), os.environ["FOREIGN_WHOLE"].split(), defaultdict(list)
    for item in items:
        cases[next(item.iter_markers("rule")).args[0]].append(item)
    kept = {
        item
        for rule, those in cases.items()
        for item in (those if rule in whole else those[:: -(-len(those) // most)])
    }
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]
"""

#: Loads it in each process of the run, even if the runner drops pytest's own variables.
SITE = """
import os
if "FOREIGN_MOST" in os.environ:
    os.environ["PYTEST_ADDOPTS"] = "-p foreign_thin"
"""


class Outcome(NamedTuple):
    """The result of a run: verdicts of each rule's cases, and the rest."""

    cases: dict[str, Counter[str]]
    deaths: int
    exit: int | None
    last: str
    seconds: float
    failures: dict[str, str]

    def rules(self, verdicts: set[str]) -> set[str]:
        """The rules of which a case has one of these verdicts."""
        return {rule for rule, seen in self.cases.items() if verdicts & set(seen)}

    def total(self, *verdicts: str) -> int:
        """The number of cases with one of these verdicts; of all cases if none is given."""
        counts = [item for seen in self.cases.values() for item in seen.items()]
        return sum(number for verdict, number in counts if verdict in verdicts or not verdicts)


def read(journal: Path, status: int | None, output: str) -> Outcome:
    """The outcome of a run."""
    cases: defaultdict[str, Counter[str]] = defaultdict(Counter)
    rules: dict[str, str] = {}
    ended: set[str] = set()
    hung: set[str] = set()
    deaths, began, last_time = 0, 0.0, 0.0
    failures: dict[str, str] = {}
    lines = journal.read_text().splitlines() if journal.exists() else []
    for line in filter(None, lines):
        try:
            record: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        event = record.get("event")
        began = began or record.get("time", 0.0)
        last_time = max(last_time, record.get("time", 0.0))
        if event == "plan":
            rules |= dict(record["cases"])
        elif event == "end":
            ended.add(record["case"])
            cases[record["rule"]][record["verdict"]] += 1
            if record["verdict"] not in ("pass", "n/a"):
                failures.setdefault(record["rule"], brief(record))
        elif event == "hang" and record.get("case"):
            hung.add(record["case"])
        elif event == "death":
            deaths += 1
    for case, rule in rules.items():
        if case not in ended:
            cases[rule]["hang" if case in hung else "not-run"] += 1
    text = [line for line in output.splitlines() if line.strip() and not line.startswith("journal:")]
    return Outcome(dict(cases), deaths, status, text[-1] if text else "", last_time - began, failures)


def brief(record: dict[str, Any]) -> str:
    """A failure in a line."""
    failure = record.get("failure") or {}
    text = "; ".join(str(failure[key]) for key in ("what", "expected", "seen", "wants") if failure.get(key))
    return f"{record['case'].rpartition('::')[2]}: {text}"


def matches(rule: str, patterns: set[str]) -> bool:
    """Whether one of the patterns matches the rule."""
    return any(fnmatch(rule, pattern) for pattern in patterns)


class Expected(Protocol):
    """What is expected of a device: see Style."""

    @property
    def good(self) -> bool: ...

    @property
    def breaks(self) -> set[str]: ...

    @property
    def may(self) -> set[str]: ...

    @property
    def unjudged(self) -> set[str]: ...

    @property
    def judged(self) -> set[str]: ...

    @property
    def dies(self) -> bool | None: ...

    @property
    def exit(self) -> int | None: ...


def clients(style: Expected) -> set[str]:
    """The rules of the suite's own traffic, which a broken device may keep it from showing."""
    return set() if style.good else {"v1.client.*", "dirty.client.*"}


def blocks(rule: str) -> bool:
    """Whether the rule counts in the exit code."""
    return not rule.startswith("qemu.")


def differences(style: Expected, outcome: Outcome) -> list[str]:
    """The differences of an outcome from what a style expects, a line each."""
    seen = outcome.rules(BROKEN)
    wrong = [
        f"broken but should not be: {rule} ({outcome.failures.get(rule, 'hang')})"
        for rule in sorted(seen)
        if rule not in style.breaks and not matches(rule, style.may | clients(style))
    ]
    wrong += [
        f"not broken: {rule} {dict(outcome.cases.get(rule, {}))}"
        for rule in sorted(style.breaks - seen)
        if rule not in style.may
    ]
    wrong += [
        f"not judged: {rule} ({outcome.failures.get(rule, 'no end')})"
        for rule in sorted(outcome.rules({"not-run", "broken"}))
        if rule not in style.breaks and not matches(rule, style.unjudged | style.may | clients(style))
    ]
    wrong += [
        f"nothing judged of {pattern}"
        for pattern in sorted(style.judged)
        if not any(
            fnmatch(rule, pattern) and {"pass", *BROKEN} & set(verdicts) for rule, verdicts in outcome.cases.items()
        )
    ]
    if style.dies not in (None, bool(outcome.deaths)):
        wrong.append(f"deaths recorded: {outcome.deaths}")
    wanted = exits(style, outcome)
    if outcome.exit is not None and outcome.exit not in wanted:
        wrong.append(f"exit code {outcome.exit}, expected {' or '.join(map(str, sorted(wanted)))}")
    if not outcome.cases:
        wrong.append("no journal")
    return wrong


def exits(style: Expected, outcome: Outcome) -> set[int]:
    """The exit codes that a style allows, given what was seen."""
    if style.dies is None and not style.breaks:
        return {1, 2}
    if style.exit is not None:
        # A hang with a broken rule: 1, as a broken rule takes precedence.
        return {1, 3} if style.exit == 3 else {style.exit}
    if style.dies or any(blocks(rule) for rule in style.breaks - style.may):
        return {1}
    return {1} if any(blocks(rule) for rule in outcome.rules(BROKEN)) else {0}


def run(name: str, project: Path, out: Path, most: int | None, timeout: float) -> Outcome:
    """Judge a style by the suite of ``project``, and read the journal."""
    style = STYLES[name]
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    path = profiles.put(name, style, folder)
    options = [part for rule in style.only for part in ("--only", rule)]
    return judge(path, project, most, style.breaks, options, timeout)


def judge(
    path: Path, project: Path, most: int | None, whole: Collection[str], options: Collection[str], timeout: float
) -> Outcome:
    """Judge a device by its profile, which is in a folder of its own, and read the journal.

    ``most`` cases of each rule are run, but all of those in ``whole``.
    """
    folder, out = path.parent, path.parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project / "tools"), str(out)])}
    if most:
        (out / "foreign_thin.py").write_text(THIN)
        (out / "sitecustomize.py").write_text(SITE)
        environment |= {"FOREIGN_MOST": str(most), "FOREIGN_WHOLE": " ".join(whole)}
    command = [sys.executable, "-m", "vfio_compliance", "run", str(path), "--out", str(folder / "result"), *options]
    with open(folder / "output.txt", "w") as output:
        process = subprocess.Popen(command, cwd=project, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            status = -1
    (folder / "status").write_text(str(status))
    return again(folder)


def again(folder: Path) -> Outcome:
    """The outcome of an earlier run."""
    status = int((folder / "status").read_text())
    return read(folder / "result" / "journal.jsonl", status, (folder / "output.txt").read_text(errors="replace"))


def summary(style: type[Style]) -> str:
    """A style in a sentence."""
    line = (style.__doc__ or "").splitlines()[0]
    return f"{line}  [needs {style.needs}]" if style.needs else line


def table(name: str, outcome: Outcome, wrong: list[str]) -> str:
    """The part of the table for a style."""
    return lines(name, summary(STYLES[name]), STYLES[name].breaks, outcome, wrong)


def lines(name: str, what: str, breaks: set[str], outcome: Outcome, wrong: list[str]) -> str:
    """What is expected of a device, what was seen, and the differences."""
    seen = sorted(outcome.rules(BROKEN))
    unjudged = outcome.total("not-run", "broken")
    numbers = (
        f"{outcome.total() - unjudged} of {outcome.total()} judged, {unjudged} not-run, {outcome.total('n/a')} n/a"
    )
    found = [
        f"{'WRONG' if wrong else 'ok   '} {name}: {what}",
        f"      expected {', '.join(sorted(breaks)) or 'none'}",
        f"      seen     {shorten(seen)}",
        f"      {numbers}, {outcome.deaths} deaths, exit {outcome.exit}, {outcome.seconds:.0f} s",
        f"      last     {outcome.last}",
    ]
    return "\n".join(
        found
        + [f"      !! {line}" for line in wrong[:12]]
        + ([f"      !! and {len(wrong) - 12} more"] if len(wrong) > 12 else [])
    )


def shorten(rules: list[str]) -> str:
    """A list of rules that is short enough for a screen."""
    return (", ".join(rules[:8]) + (f" and {len(rules) - 8} more" if len(rules) > 8 else "")) or "none"


def chosen(arguments: argparse.Namespace) -> list[str]:
    """The styles that the options name."""
    patterns = arguments.styles.split(",") if arguments.styles else ["*"]
    return [
        name
        for name, style in STYLES.items()
        if any(fnmatch(name, pattern) for pattern in patterns) and (not arguments.only or style.part in arguments.only)
    ]


def main() -> int:
    """Print the table; return 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=Path, default=HERE.parents[2], help="the checkout whose suite judges")
    parser.add_argument("--styles", help="names or patterns, separated by commas")
    parser.add_argument(
        "--only", type=lambda text: re.split("[, ]", text), help="v1 or dirty; by default v1, or all with --styles"
    )
    parser.add_argument("--most", type=int, help="at most this many cases of each rule")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder for profiles, journals and table.txt")
    parser.add_argument("--timeout", type=float, default=400, help="seconds for one style")
    parser.add_argument("--again", action="store_true", help="run nothing: read the earlier run in --out")
    parser.add_argument("--list", action="store_true", help="only list the styles and what they break")
    arguments = parser.parse_args()
    if not arguments.styles and not arguments.only:
        arguments.only = ["v1"]
    names = chosen(arguments)
    if arguments.list:
        for name in names:
            print(f"{name:32} {'good' if STYLES[name].good else ' '.join(sorted(STYLES[name].breaks))}")
        return 0
    out = arguments.out or Path(tempfile.mkdtemp(prefix="foreign-"))
    out.mkdir(parents=True, exist_ok=True)
    project = arguments.project.resolve()
    failed = []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool, open(out / "table.txt", "a") as file:
        if arguments.again:
            names = [name for name in names if (out / name / "status").exists()]
            runs = {pool.submit(again, out / name): name for name in names}
        else:
            most, timeout = arguments.most, arguments.timeout
            runs = {pool.submit(run, name, project, out.resolve(), most, timeout): name for name in names}
        for future in concurrent.futures.as_completed(runs):
            name = runs[future]
            outcome = future.result()
            wrong = differences(STYLES[name], outcome)
            failed += [name] if wrong else []
            for stream in (sys.stdout, file):
                print(table(name, outcome, wrong), file=stream, flush=True)
    print(f"{len(names)} styles, {len(failed)} not judged as expected: {', '.join(sorted(failed)) or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
