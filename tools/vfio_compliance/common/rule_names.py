# SPDX-License-Identifier: GPL-2.0-only
"""Former ids of rules, so that waivers, patterns and journals that were written with one are still understood."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: The present id by the former one. The meaning of a rule does not change with its id.
RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dirty.reset.tracking-goes-on": "dirty.reset.tracking-continues",
        "dirty.tracking.goes-on": "dirty.tracking.continues",
        "v1.resuming.consumed-when-told": "v1.resuming.consumed-on-return",
        "v1.resuming.goes-on-after-refusal": "v1.resuming.continues-after-refusal",
        "v1.resuming.goes-on-after-repetition": "v1.resuming.continues-after-repetition",
        "v1.saving.goes-on-after-refusal": "v1.saving.continues-after-refusal",
        "v1.saving.goes-on-after-repetition": "v1.saving.continues-after-repetition",
        "v1.sessions.whole-after-one": "v1.sessions.complete-after-one",
        "v1.sessions.whole-after-two": "v1.sessions.complete-after-two",
        "v1.state.refusal-as-told": "v1.state.refusal-as-claimed",
        "v1.state.write-is-whole": "v1.state.write-is-complete",
        "v1.stop-and-copy.state-is-whole": "v1.stop-and-copy.state-is-complete",
    }
)

_IN_JSON: Final = re.compile("|".join(f'"{re.escape(rule)}"' for rule in RENAMED))


def current(rule: str) -> str:
    """The present id of a rule, by its present or a former id."""
    return RENAMED.get(rule, rule)


def renamed_in_json(text: str) -> str:
    """The same JSON, with the present ids of rules instead of former ones."""
    return _IN_JSON.sub(lambda found: f'"{RENAMED[found[0][1:-1]]}"', text)
