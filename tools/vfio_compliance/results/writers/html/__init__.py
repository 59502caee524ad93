# SPDX-License-Identifier: GPL-2.0-only
"""The result as a page: one file for a browser, for readers who decide and for those who fix a driver."""

from __future__ import annotations

from ...changes import changes
from ...conclusion import conclude
from ...faults import OF_THE_SUITE, faults, numbers, waiving, waiving_warning
from ...figures import OF_FLOWS, figures, flow_in_words
from ...summary import Summary
from ...unjudged import left_out, selected, unjudged
from ...verdict import tally
from .failures import described
from .identity import environment, identity
from .page import rendered
from .pictures.pages import dirty_pages
from .pictures.save import saves
from .pictures.states import diagram
from .pictures.times import bars
from .rules import rows

__all__ = ["render"]


def render(summary: Summary) -> str:
    """The whole result."""
    word, detail, plan = conclude(summary)
    found = faults(summary)
    places = numbers(found)
    changed = changes(summary)
    return rendered(
        "report.html",
        summary=summary,
        verdict={"word": word, "detail": detail, "plan": plan, "kind": _kind(word)},
        identity=identity(summary),
        counts=tally(summary.device_verdicts.values()).items(),
        own_counts=tally(summary.suite_verdicts.values()).items(),
        of_the_suite=OF_THE_SUITE,
        rows=[*rows(summary, places)],
        places=places,
        failures=described(summary, found),
        changes=changed,
        diagram=diagram(changed),
        saves=[*saves(summary)],
        flows=[(kind, ", ".join(flow_in_words(flow))) for kind, flow in figures(summary.measures)["flows"].items()],
        of_flows=OF_FLOWS,
        bars=[*bars(summary)],
        map=dirty_pages(summary),
        waivers=[(used, [*waiving(used.waiver)]) for used in summary.waivers if summary.cases_of(used.waiver.rule)],
        warnings=[(used, [*waiving_warning(used.waiver)]) for used in summary.warnings],
        unjudged=[*unjudged(summary)],
        left_out=[*left_out(summary)],
        selected=selected(summary),
        environment=environment(summary),
    )


def _kind(word: str) -> str:
    """Whether a verdict on the device is good, bad or unclear."""
    if word == "CONFORMANT":
        return "good"
    return "bad" if word.startswith("NOT ") else "unclear"
