# SPDX-License-Identifier: GPL-2.0-only
"""What proves each rule: the defects that break it, the message of its failure, and what else fails.

``python tools/tests/proofs/proofs.py > tools/tests/proofs/README.md`` writes the page for readers of verdicts.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from refdriver.defects import DEFECTS as DESCRIPTIONS
from vfio_compliance import rules as spec
from vfio_compliance.rules.tests import by_rule, places

PROJECT = Path(__file__).resolve().parents[3]
SIDE_FAILURES = Path(__file__).with_name("side_failures.yaml")

CATALOGUE = spec.load(PROJECT / "suites")
TESTS = by_rule(PROJECT / "suites")

#: Each defect with the rules that it is there to break, and the messages of their failures.
DEFECTS = spec.by_defect(CATALOGUE)

_INTRODUCTION = """\
<!-- SPDX-License-Identifier: GPL-2.0-only -->
<!-- Made by `python tools/tests/proofs/proofs.py > tools/tests/proofs/README.md`; the self-tests compare. -->
# What proves the rules

A test that has never failed proves nothing. So the reference driver can be broken on purpose, in one way at a time, and
is then judged by the rules of the defect's interface. The rules that the defect is there to break must fail, with a
message that names the cause. Another rule may fail only if the defect really breaks it as well; the reason is listed.
`tox run -e selftest` does this for every defect below; `tox run-parallel -m live` does it on the kernel module, for a
part of the defects that a driver behind a kernel can have.

To see one: `vfio-compliance run profiles/reference.yaml --defect NAME`.
"""


@functools.cache
def side_failures() -> dict[str, dict[str, str]]:
    """Defects that break more rules than they are there to break: those rules, each with the reason."""
    groups = yaml.safe_load(SIDE_FAILURES.read_text(encoding="utf-8")) or {}
    return {
        defect: {rule: group["because"] for group in those for rule in group["rules"]}
        for defect, those in groups.items()
    }


def shown(pattern: str, message: str) -> bool:
    """Whether a failure has the words of the pattern, in which each ``*`` stands for any text."""
    words = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.search(words, message, re.DOTALL) is not None


def page() -> Iterator[str]:
    """The lines of README.md."""
    side = side_failures()
    provable = [rule for rule in CATALOGUE if rule.defects]
    others = [rule for rule in CATALOGUE if rule.unprovable]
    yield from _INTRODUCTION.splitlines()
    yield ""
    yield from _table(
        ("what", "how many"),
        [
            ("clauses of the interfaces, each with a rule", len(CATALOGUE.clauses)),
            ("rules, each with one or a few tests", len(CATALOGUE.rules)),
            ("tests", sum(map(len, TESTS.values()))),
            ("rules proven by defects", len(provable)),
            ("defects", len(DEFECTS)),
            ("pairs of a rule and a defect that is there to break it", sum(len(rule.defects) for rule in provable)),
            ("other rules that fail, each with the reason", sum(map(len, side.values()))),
            ("rules that no defect of a driver can prove", len(others)),
        ],
    )
    yield from ("", "## Not provable by a defect", "")
    yield from _table(("rule", "kept by", "why"), [(_code(rule.id), rule.side, rule.unprovable) for rule in others])
    yield from ("", "## From clause to rule, test and defects", "")
    yield from _table(
        ("clause", "about", "rule", "tests", "defects"),
        [
            (
                clause,
                title,
                _code(rule.id),
                f"{rule.suite}/{places(TESTS[rule.id])}",
                ", ".join(map(_code, rule.defects)) or "none",
            )
            for clause, title in CATALOGUE.clauses.items()
            for rule in CATALOGUE
            if clause in rule.clauses
        ],
    )
    yield from ("", "## From defect to what catches it", "")
    yield from _table(
        ("defect", "the driver's fault", "caught by, with this message (`*` varies)", "also fails, because"),
        [
            (
                _code(defect),
                description,
                "<br>".join(f"{_code(rule)}: {shows}" for rule, shows in DEFECTS[defect].items()),
                _grouped(side.get(defect, {})),
            )
            for defect, description in DESCRIPTIONS.items()
        ],
    )


def _grouped(reasons: dict[str, str]) -> str:
    """The rules, grouped by the reason why they fail."""
    rules: dict[str, list[str]] = {}
    for rule, reason in reasons.items():
        rules.setdefault(reason, []).append(_code(rule))
    return "<br>".join(f"{', '.join(names)}: {reason}" for reason, names in rules.items())


def _table(heads: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |"


def _code(name: str) -> str:
    return f"`{name}`"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in page())
