# SPDX-License-Identifier: GPL-2.0-only
"""The interfaces that are judged. A new one is a room like these, a suite, and a line here and in sections.py."""

from __future__ import annotations

from .dirty_type1.interface import DirtyType1
from .migration_v1.interface import MigrationV1
from .run.client import ClientJudge
from .run.interface import Interface

INTERFACES: list[Interface] = [
    MigrationV1(),
    DirtyType1(),
]

#: What judges the clients of each, and what the clauses ask of them.
JUDGES: list[type[ClientJudge]] = [each.judge for each in INTERFACES if each.judge]
CLAUSES: dict[str, str] = {clause: says for judge in JUDGES for clause, says in judge.clauses.items()}

#: The interface by whose region a device that is judged is known.
JUDGED = next(each for each in INTERFACES if each.judge and each.region_type)
