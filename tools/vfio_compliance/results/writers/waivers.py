# SPDX-License-Identifier: GPL-2.0-only
"""The failures of a run as a file of waivers, whose reasons have to be filled in."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator

from ...common import versions
from ...common.words import counted, printable
from ...rules import Rule
from ..case import Case
from ..summary import TROUBLE, Summary
from ..verdict import Verdict
from ..waiving import never_waived

_WIDTH = 110
_INDENT = "    "


def render(summary: Summary) -> str:
    """The file, which is refused as long as a reason is empty; empty text if nothing can be waived.

    A waiver is as narrow as the failures allow: what all of them showed, the one case, this driver, these kernels.
    """
    failed = {rule: cases for rule in summary.device_verdicts if (cases := _failed(summary, rule))}
    if not failed:
        return ""
    lines = [
        *_comment("", f"Waivers of what failed in a run of {summary.run.profile.name} (seed {summary.run.seed})."),
        *_comment(
            "",
            "Fill in each reason or remove the waiver: a waiver without a reason is refused. Add link, owner, expires.",
        ),
        *_never(summary),
        "format: 1",
        "waivers:",
    ]
    for rule, cases in failed.items():
        for group in _groups(cases):
            lines += _waiver(summary, summary.rules[rule], group)
    return "".join(f"{line}\n" for line in lines)


def _comment(indent: str, text: str) -> list[str]:
    mark = f"{indent}# "
    return textwrap.wrap(printable(text), _WIDTH, initial_indent=mark, subsequent_indent=mark)


def _failed(summary: Summary, rule: str) -> list[Case]:
    """The failing cases of a rule; none if a waiver could not excuse them all."""
    cases = [case for case in summary.cases_of(rule) if case.verdict is Verdict.FAIL]
    return [] if any(map(never_waived, cases)) else cases


def _never(summary: Summary) -> Iterator[str]:
    """What else is wrong, which no waiver excuses."""
    for rule, verdict in summary.device_verdicts.items():
        found = {case.verdict for case in summary.cases_of(rule)} & {*TROUBLE} - {Verdict.FAIL, Verdict.STALE}
        if found or (verdict is Verdict.FAIL and not _failed(summary, rule)):
            words = ", ".join(sorted(each.value for each in found)) or "what the kernel or a sanitizer reported"
            yield from _comment("", f"Not waived: {rule} ({words}).")


def _waiver(summary: Summary, rule: Rule, cases: list[Case]) -> Iterator[str]:
    everywhere = counted(len(summary.cases_of(rule.id)), "case")
    yield from _comment("  ", f"{rule.clause} ({rule.level}): {rule.says}")
    yield from _comment("  ", f"{len(cases)} of {everywhere}, first: {cases[0].why}")
    yield f"  - rule: {_quoted(rule.id)}"
    yield f'{_INDENT}reason: ""'
    for key, text in (
        ("shows", _shown_by_all(cases)),
        ("case", cases[0].name if len(cases) == 1 else ""),
        ("kernel", versions.series(summary.run.kernel.rpartition(" ")[2]) if _behind_a_kernel(summary) else ""),
        ("driver", versions.exactly(summary.run.driver_version)),
    ):
        if text:
            yield f"{_INDENT}{key}: {json.dumps(text)}"


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name, re.ASCII) else json.dumps(name)


def _behind_a_kernel(summary: Summary) -> bool:
    return summary.target.identity.get("transport", "").startswith("kernel")


def _groups(cases: list[Case]) -> list[list[Case]]:
    """Cases that one waiver can be for: all that show the same; each by itself if that cannot be written to a file."""
    return [cases] if _shown_by_all(cases) else [[case] for case in cases]


def _shown_by_all(cases: list[Case]) -> str:
    """The first line of what was seen, if it is the same in all cases and can be written to a file."""
    seen = {(case.why.seen or "").partition("\n")[0].strip() for case in cases}
    text = seen.pop()
    return text if not seen and text.isprintable() else ""
