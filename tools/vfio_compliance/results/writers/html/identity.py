# SPDX-License-Identifier: GPL-2.0-only
"""What a reader has to know first: which device, which driver, which kernel, judged when and by what."""

from __future__ import annotations

from collections.abc import Iterator

from ....rules.version import known_errors
from ...about import about, began, driver
from ...spent import spent
from ...summary import Summary


def identity(summary: Summary) -> dict[str, str]:
    """The facts in the order in which they are read; missing ones are "unknown"."""
    known, facts, run = about(summary), summary.facts, summary.run
    made = {
        "Device": _joined(known, "vendor", "product", "device") or run.profile.name,
        "Driver": driver(summary),
        "Module srcversion": facts.get("driver srcversion", ""),
        "Firmware": ", ".join(_firmware(facts)),
        "Kernel": f"{run.kernel} {facts.get('kernel version', '')}".strip(),
        "Profile": f"{run.profile.path}, sha256 {run.profile.digest}",
        "Suite": _suite(summary),
        "Rule set": _rule_set(facts.get("rule set", "")),
        "Date": f"{began(summary):%Y-%m-%d %H:%M} UTC",
        "Duration": spent(summary),
        "Broken on purpose": known.get("broken on purpose", ""),
    }
    always = ("Module srcversion", "Firmware", "Rule set")
    return {name: text or "unknown" for name, text in made.items() if text or name in always}


def environment(summary: Summary) -> dict[str, str]:
    """Everything known about device, driver, kernel and host, by name."""
    return {**about(summary), **summary.facts, "seed": str(summary.run.seed)}


def _joined(known: dict[str, str], *names: str) -> str:
    return " ".join(dict.fromkeys(known[name] for name in names if known.get(name)))


def _firmware(facts: object) -> Iterator[str]:
    assert isinstance(facts, dict)
    for name, text in facts.items():
        if name.startswith("device "):
            yield f"{text} ({name.removeprefix('device ')})"


def _suite(summary: Summary) -> str:
    facts = summary.facts
    commit, modified = facts.get("suite commit", ""), facts.get("suite modified", "")
    parts = [f"vfio-compliance {summary.run.version}", f"commit {commit[:12]}" if commit else ""]
    parts.append({"yes": "modified", "no": "not modified"}.get(modified, "unknown whether modified"))
    return ", ".join(filter(None, parts))


def _rule_set(version: str) -> str:
    if not version.isdecimal() or len(version) > 9:
        return version
    wrong = known_errors(int(version))
    return f"version {version}" + (f", with known errors in {', '.join(each.rule for each in wrong)}" if wrong else "")
