# SPDX-License-Identifier: GPL-2.0-only
"""The result for KCIDB, the kernel CI's common database, by version 5.3 of its schema: a test for each rule.

A path there allows few characters, so cases are in ``misc``, by name. The build is that of the running kernel; the
submitter may know it by another id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from ...common.words import printable_lines
from ..about import about, began, driver
from ..case import Case
from ..conclusion import conclude
from ..figures import figures, flat
from ..outside import NAME, blocks, outside
from ..summary import Summary
from ..verdict import Verdict
from .blocks import block, brief, troubled

_ORIGIN: Final = "vfio_compliance"
_VERSION: Final = {"major": 5, "minor": 3}

#: Other characters in a part of a path occur only in made-up rules.
_OTHER: Final = re.compile(r"[^A-Za-z0-9_-]")

#: The schema's limit for the length of an excerpt.
_EXCERPT: Final = 16384

_STATUS: Final = {
    Verdict.PASS: "PASS",
    Verdict.FAIL: "FAIL",
    Verdict.STALE: "FAIL",
    Verdict.KERNEL: "FAIL",
    Verdict.HANG: "FAIL",
    Verdict.WAIVED: "DONE",
    Verdict.NOT_APPLICABLE: "SKIP",
    Verdict.BROKEN: "ERROR",
    Verdict.NOT_RUN: "MISS",
}

#: The status of a rule that does not count, instead of the one that it would have.
_UNBLOCKING: Final = {"PASS": "PASS", "SKIP": "SKIP", "DONE": "DONE", "FAIL": "DONE", "ERROR": "DONE", "MISS": "SKIP"}


def render(summary: Summary) -> str:
    """The report. Characters beyond ASCII are escaped, and so are control characters."""
    release = about(summary).get("kernel", summary.run.kernel)
    machine = about(summary).get("machine", "")
    build = f"{_ORIGIN}:{_id(release, machine)}"
    run = f"{_ORIGIN}:{_id(summary.run.profile.digest, str(summary.began), release)}"
    environment = {"comment": _clean(driver(summary)), "misc": _environment(summary)}
    found = {
        "version": _VERSION,
        "checkouts": [{"id": build, "origin": _ORIGIN, "comment": _clean(f"the kernel that ran: {release}")}],
        "builds": [{"id": build, "checkout_id": build, "origin": _ORIGIN, **_architecture(machine)}],
        "tests": [
            _test(summary, rule, verdict, {"id": f"{run}.{number}", "build_id": build, "environment": environment})
            for number, (rule, verdict) in enumerate(summary.verdicts.items(), 1)
        ]
        + [
            {
                "id": f"{run}.outside.{number}",
                "build_id": build,
                "origin": _ORIGIN,
                "environment": environment,
                "path": f"{_ORIGIN}.{NAME.replace(' ', '_')}",
                "comment": _clean(text),
                "status": _STATUS[verdict],
                "start_time": began(summary).isoformat(timespec="microseconds"),
                "misc": {"verdict": verdict.value},
            }
            for number, (verdict, text) in enumerate(outside(summary), 1)
        ],
    }
    return json.dumps(found)


def _id(*parts: str) -> str:
    return sha256("\0".join(map(_clean, parts)).encode()).hexdigest()[:32]


def _clean(text: str) -> str:
    """Text without control characters and without what UTF-8 cannot encode."""
    return printable_lines(text)


def _architecture(machine: str) -> dict[str, str]:
    return {"architecture": machine} if re.fullmatch("[a-z0-9_]+", machine) else {}


def _test(summary: Summary, id_: str, verdict: Verdict, common: Mapping[str, Any]) -> dict[str, Any]:
    rule, cases = summary.rules[id_], summary.cases_of(id_)
    fields = {
        **common,
        "origin": _ORIGIN,
        "path": ".".join([_ORIGIN, *(_OTHER.sub("_", part) or "_" for part in id_.split("."))]),
        "comment": _clean(f"{rule.clause}: {rule.says}"),
        "status": _STATUS[verdict] if all(blocks(summary, case) for case in cases) else _UNBLOCKING[_STATUS[verdict]],
        "start_time": began(summary).isoformat(timespec="microseconds"),
        "duration": sum(case.seconds for case in cases),
        "misc": _misc(summary, id_, verdict),
    }
    if excerpt := next((block(summary, case) for case in cases if troubled(case) and case.verdict is verdict), ""):
        fields["log_excerpt"] = excerpt[:_EXCERPT]
    return fields


def _environment(summary: Summary) -> dict[str, Any]:
    """What is the same for all rules."""
    word, detail, plan = conclude(summary)
    return {
        "about": {_clean(name): _clean(value) for name, value in about(summary).items()},
        "run": {"verdict": word, "detail": _clean(detail), "plan": _clean(plan)},
        "figures": {_clean(name): value for name, value in flat(figures(summary.measures))},
    }


def _misc(summary: Summary, id_: str, verdict: Verdict) -> dict[str, Any]:
    rule = summary.rules[id_]
    return {
        "rule": _clean(id_),
        "clauses": [_clean(clause) for clause in rule.clauses],
        "level": rule.level,
        "verdict": verdict.value,
        "of_the_suite": rule.of_the_suite,
        "cases": [_case(summary, case) for case in summary.cases_of(id_)],
    }


def _case(summary: Summary, case: Case) -> dict[str, str]:
    fields = {"id": _clean(case.key), "verdict": case.verdict.value}
    return fields if case.verdict is Verdict.PASS else {**fields, "why": brief(summary, case)}
