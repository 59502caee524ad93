# SPDX-License-Identifier: GPL-2.0-only
"""The result as JSON, by the schema beside this file.

A change of what is written raises VERSION and changes the schema; a new field does not raise VERSION.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from .. import fields
from ..about import about, began, driver
from ..case import Case
from ..conclusion import conclude
from ..excerpt import excerpt
from ..failure import Stop
from ..figures import figures
from ..flows import Flow
from ..rerun import again, rerun
from ..summary import TROUBLE, Summary
from ..verdict import Verdict, tally

#: Version of the format, which is also in the schema.
VERSION: Final = 1

SCHEMA: Final = Path(__file__).with_name("report.schema.json")

#: How many of the calls of a failing case are listed.
_CALLS: Final = 12

_UNSAFE: Final = re.compile(r"[^\x20-\x7e\n]")


def render(summary: Summary) -> str:
    """The whole result. Control characters, and what UTF-8 cannot encode, are escaped."""
    parts = [f"{_dumped(name)}: {_lines(value)}" for name, value in document(summary).items()]
    text = ",\n".join(parts)
    return _UNSAFE.sub(lambda found: _escaped(found[0]), f"{{\n{text}\n}}\n")


def _lines(value: Any) -> str:
    """A list has a line for each element; indenting everything takes several times as long."""
    if isinstance(value, list) and value:
        inside = ",\n".join(f" {_dumped(each)}" for each in value)
        return f"[\n{inside}\n]"
    return _dumped(value)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=fields.plain)


def _escaped(letter: str) -> str:
    if "\ud800" <= letter <= "\udfff":
        return f"\\\\u{ord(letter):04x}"  # half of a surrogate pair is not a character: only its number is left
    return letter if letter.isprintable() else json.dumps(letter)[1:-1]


def document(summary: Summary) -> dict[str, Any]:
    """The result as the schema has it, as far as ``fields.plain`` makes it so."""
    run, scope, (word, detail, plan) = summary.run, summary.scope, conclude(summary)
    return {
        "format": "vfio-compliance report",
        "version": VERSION,
        "program": run.version,
        "verdict": {"word": word, "detail": detail, "plan": plan, "exit_code": summary.exit_code},
        "began": began(summary).isoformat(timespec="microseconds"),
        "seconds": round(summary.seconds, 6),
        "profile": run.profile,
        "description": run.description,
        "interfaces": list(run.interfaces),
        "kernel": run.kernel,
        "driver": driver(summary),
        "about": about(summary),
        "seed": run.seed,
        "shuffled": run.shuffled,
        "defects": list(run.defects),
        "plan": {
            "name": run.plan.name,
            "given": run.plan.given,
            "depth": run.plan.depth,
            "digest": run.plan.digest,
            "certifies": run.plan.certifies,
            "not_blocking": run.plan.not_blocking,
            "left_out": [{"reason": reason, "rules": rules} for reason, rules in scope.left_out.items()],
        },
        "selection": {"selected": scope.selection, "only": list(scope.only), "exclude": list(scope.exclude)},
        "offered": {"rules": scope.rules, "cases": scope.cases},
        "waivers": run.waivers,
        "kernel_warnings": run.kernel_warnings,
        "waiver_files": run.waiver_files,
        "rounds": run.rounds,
        "counts": {
            "rules": tally(summary.device_verdicts.values()),
            "suite_rules": tally(summary.suite_verdicts.values()),
            "cases": tally(case.verdict for case in summary.cases.values()),
        },
        "totals": dict(summary.totals),
        "figures": figures(summary.measures),
        "flows": [_flow(case, flow) for case in summary.cases.values() for flow in case.measures.flows],
        "answers": [
            {"title": each.title, "works": each.works, "because": list(each.because)} for each in summary.answers()
        ],
        "rules": [_rule(summary, rule, verdict) for rule, verdict in summary.verdicts.items()],
        "observed": {question: dict(answers) for question, answers in summary.observed.items()},
        "states": [
            {"of": each.of, "answer": each.answer, "seen": each.seen, "differs": list(each.differs)}
            for each in summary.states.values()
        ],
        "notes": [{"text": text, "times": times} for text, times in summary.notes.items()],
        "processes": list(summary.processes),
        "stops": _stops(summary.stops),
        "hangs": _stops(summary.hangs),
        "deaths": list(summary.deaths),
        "kernel_log": list(summary.kernel_log),
    }


def _flow(case: Case, flow: Flow) -> dict[str, Any]:
    """A complete flow; what does not apply is left out."""
    fields = {
        "kind": flow.kind,
        "case": case.key,
        "bytes": flow.moved,
        "seconds": flow.seconds,
        "call_seconds": flow.call_seconds,
        "bytes_per_second": flow.throughput,
        "downtime": flow.downtime,
        "downtime_to_running": flow.downtime_to_running,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _stops(stops: Iterable[Stop]) -> list[dict[str, str]]:
    return [stop._asdict() for stop in stops]


def _rule(summary: Summary, id_: str, verdict: Verdict) -> dict[str, Any]:
    rule = summary.rules[id_]
    return {
        "id": id_,
        "clause": rule.clause,
        "also": list(rule.also),
        "says": rule.says,
        "level": rule.level,
        "status": rule.status,
        "side": rule.side,
        "source": rule.source,
        "suite": rule.suite,
        "title": summary.run.areas.get(rule.area, rule.area),
        "blocking": rule.blocking,
        "of_the_suite": rule.of_the_suite,
        "verdict": verdict.value,
        "stands_on": summary.causes(id_),
        "cases": [_case(summary, case) for case in summary.cases_of(id_)],
    }


def _case(summary: Summary, case: Case) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": case.id,
        **({"round": case.round} if case.round > 1 else {}),
        "verdict": case.verdict.value,
        "seconds": round(case.seconds, 6),
        "calls": case.totals.calls,
    }
    if case.verdict is Verdict.PASS:
        return fields
    fields["failure"] = case.why
    if case.verdict in TROUBLE or case.verdict is Verdict.WAIVED:
        fields["excerpt"] = [f"{line.mark}{line.text}" for line in excerpt(case, summary, _CALLS)]
        fields["rerun"] = rerun(summary, case)
        if made := case.programs:
            fields["programs"] = {"files": list(made.files), "shown": made.shown, "remark": made.remark}
        if text := again(summary, case):
            fields["again"] = text
    return fields
