# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance list --shipped`: what is shipped with the program, and where it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..common.project import FINDINGS, KMOD, PROFILES, SUITES


def lines() -> Iterator[str]:
    """A line for each: its kind, the name by which commands take it, the path."""
    from ..profiles import plan, shipped

    for name, path in shipped.profiles().items():
        yield _line("profile", name, path)
    for path in sorted(plan.FOLDER.glob("*.yaml")):
        yield _line("plan", path.stem, path)
    for path in (PROFILES / "template.yaml", PROFILES / "waivers" / "template.yaml"):
        yield _line("to fill in", "", path)
    for path in sorted(PROFILES.glob("*.schema.json")):
        yield _line("schema", "", path)
    for kind, path in (("suites", SUITES), ("module", KMOD), ("findings", FINDINGS)):
        yield _line(kind, "", path)


def _line(kind: str, name: str, path: Path) -> str:
    return f"{kind:12}{name:20}{path}"
