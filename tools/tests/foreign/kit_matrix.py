# SPDX-License-Identifier: GPL-2.0-only
"""Judges every device of the kit, good and with each of its faults, and compares the result with its author's verdict.

    python tools/tests/foreign/kit_matrix.py [NAME ...] [--most N] [--shuffled N] [--jobs 2] [--out FOLDER] [--list]

A device is a folder below ``kit``: its server, its profile, and ``expected.yaml``, the verdict of a fair judge.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import matrix  # noqa: E402

KIT = HERE / "kit"
PROJECT = HERE.parents[2]
sys.path.insert(0, str(PROJECT / "tools"))

from vfio_compliance.results.journal import read  # noqa: E402
from vfio_compliance.results.reading import summarise  # noqa: E402

#: Seconds for one device.
TIMEOUT = 900


@dataclass
class Expectation:
    """The verdict of a fair judge on a device; the names are those of Style."""

    what: str
    good: bool
    breaks: set[str] = field(default_factory=set)
    may: set[str] = field(default_factory=set)
    unjudged: set[str] = field(default_factory=set)
    judged: set[str] = field(default_factory=set)
    dies: bool | None = False
    exit: int | None = None

    @classmethod
    def read(cls, written: dict[str, Any], good: bool, also: Expectation | None = None) -> Expectation:
        """Read a part of ``expected.yaml``; a fault adds to what is expected of the device itself (``also``)."""
        found = cls(
            written["is"],
            good,
            **{key: set(written.get(key) or ()) for key in ("breaks", "may", "unjudged", "judged")},
            dies=written.get("dies", False),
            exit=written.get("exit"),
        )
        if also:
            found.breaks |= also.breaks
            found.may |= also.may
            found.unjudged |= also.unjudged
            found.dies = found.dies or also.dies
        return found


class Judged(NamedTuple):
    """A device as it is, or with one of its faults."""

    folder: Path
    fault: str
    expected: Expectation

    @property
    def name(self) -> str:
        """The name of the device, with that of the fault."""
        return f"{self.folder.name}-{self.fault}" if self.fault else self.folder.name


def devices() -> Iterator[Judged]:
    """Every device of the kit, each followed by its faults."""
    for path in sorted(KIT.glob("*/*/expected.yaml")):
        written = yaml.safe_load(path.read_text())
        itself = Expectation.read(written, written["good"])
        yield Judged(path.parent, "", itself)
        for fault, part in (written.get("faults") or {}).items():
            yield Judged(path.parent, fault, Expectation.read(part, False, itself))


def differences(expected: Expectation, outcome: matrix.Outcome, journal: Path) -> list[str]:
    """How an outcome differs from what is expected; rules that depend on a broken one may fail or be unjudged."""
    result = summarise(read(journal))
    below = {rule for rule in result.rules if not expected.breaks.isdisjoint(result.foundations(rule))}
    wider = replace(expected, may=expected.may | below, unjudged=expected.unjudged | below)
    return matrix.differences(wider, outcome)


def build(into: Path) -> None:
    """Compile the devices that are written in C."""
    command = ["make", "-s", "-j2", "-C", str(KIT / "native"), f"OUT={into}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")


def put(judged: Judged, built: Path, folder: Path) -> Path:
    """Write the profile by which the device is judged; return its path."""
    profile = yaml.safe_load((judged.folder / "profile.yaml").read_text())
    command = [word.replace("{project}/build/kit", str(built)) for word in profile["device"]["command"]]
    profile["device"]["command"] = command + ([f"--break={judged.fault}"] if judged.fault else [])
    if "actions" in profile:
        profile["actions"]["file"] = str(judged.folder / profile["actions"]["file"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "profile.yaml"
    path.write_text(json.dumps(profile, indent=1, default=str) + "\n")
    return path


def run(judged: Judged, built: Path, out: Path, most: int | None, options: tuple[str, ...] = ()) -> matrix.Outcome:
    """Judge it by a run of its own, in a folder of its name, and read the journal."""
    folder = out / judged.name
    shutil.rmtree(folder, ignore_errors=True)
    return matrix.judge(put(judged, built, folder), PROJECT, most, judged.expected.breaks, options, TIMEOUT)


def verdicts(journal: Path) -> dict[str, str]:
    """The verdict of each case in a journal."""
    records = map(json.loads, filter(None, journal.read_text().splitlines()))
    return {record["case"]: record["verdict"] for record in records if record["event"] == "end"}


def shuffled(judged: Judged, built: Path, out: Path, runs: int, most: int | None) -> list[str]:
    """The cases whose verdict in a later run, in random order, differs from that in the first; a line each."""
    first: dict[str, str] = {}
    differing = []
    for number in range(runs):
        options = (f"--seed={number + 1}", *(["--shuffle"] if number else []))
        run(judged, built, out / f"shuffled-{number}", most, options)
        now = verdicts(out / f"shuffled-{number}" / judged.name / "result" / "journal.jsonl")
        first = first or now
        differing += [
            f"run {number}: {case}: {first.get(case)} became {now.get(case)}"
            for case in first.keys() | now.keys()
            if first.get(case) != now.get(case)
        ]
    return differing


def judge(judged: Judged, built: Path, out: Path, arguments: argparse.Namespace) -> tuple[str, bool]:
    """The part of the table for a device, and whether all of it is as expected."""
    if arguments.shuffled:
        differing = shuffled(judged, built, out, arguments.shuffled, arguments.most)
        head = f"{'WRONG' if differing else 'ok   '} {judged.name}: {arguments.shuffled} runs in as many orders"
        return "\n".join([head, *(f"      !! {line}" for line in differing[:12])]), not differing
    outcome = run(judged, built, out, arguments.most)
    wrong = differences(judged.expected, outcome, out / judged.name / "result" / "journal.jsonl")
    return matrix.lines(judged.name, judged.expected.what, judged.expected.breaks, outcome, wrong), not wrong


def main() -> int:
    """Print the table; return 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="devices, faults (tape-lost) or patterns; all without any")
    parser.add_argument("--most", type=int, help="at most this many cases of each rule")
    parser.add_argument("--good", action="store_true", help="no faults")
    parser.add_argument("--shuffled", type=int, help="compare the verdicts of this many runs in random orders instead")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder for profiles, journals and table.txt")
    parser.add_argument("--list", action="store_true", help="only list the devices and what they break")
    arguments = parser.parse_args()
    chosen = [
        each
        for each in devices()
        if not (each.fault and (arguments.good or arguments.shuffled))
        and any(fnmatch(each.name, pattern) for pattern in arguments.names or ["*"])
    ]
    if not chosen:
        parser.error(f"no device of the kit is called {' or '.join(arguments.names)}")
    if arguments.list:
        for each in chosen:
            print(f"{each.name:32} {', '.join(sorted(each.expected.breaks)) or 'good'}: {each.expected.what}")
        return 0
    out = (arguments.out or Path(tempfile.mkdtemp(prefix="kit-"))).resolve()
    out.mkdir(parents=True, exist_ok=True)
    build(out / "built")
    failed = []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool, open(out / "table.txt", "a") as file:
        runs = {pool.submit(judge, each, out / "built", out, arguments): each.name for each in chosen}
        for future in concurrent.futures.as_completed(runs):
            text, right = future.result()
            failed += [] if right else [runs[future]]
            for stream in (sys.stdout, file):
                print(text, file=stream, flush=True)
    print(f"{len(chosen)} judged, {len(failed)} not as expected: {', '.join(sorted(failed)) or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
