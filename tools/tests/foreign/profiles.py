# SPDX-License-Identifier: GPL-2.0-only
"""The profile of a style, in the project's format. JSON is YAML, so nothing but the standard library is needed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from style import SELF_WRITES, UNDRAWN, Style

HERE = Path(__file__).resolve().parent

#: Words of visible state: in each page of memory, and the scratch register.
WORDS = [(1, 0x0000), (1, 0x1000), (1, 0x2FF8), (1, 0x3000), (1, 0x4FF8), (0, 0x28)]


def write(offset: int, width: int, value: object, region: int = 0) -> dict[str, Any]:
    """A step of a register program that writes."""
    return {"write": {"region": region, "offset": offset, "width": width, "value": value}}


def read(offset: int, width: int, region: int = 0) -> dict[str, Any]:
    """A step of a register program that reads."""
    return {"read": {"region": region, "offset": offset, "width": width}}


RANGE = [write(0x08, 8, "$iova"), write(0x10, 4, "$length")]

BASE: dict[str, Any] = {
    "format": 1,
    "device": {"transport": "vfio-user", "second": {}},
    "claims": {
        "data_section": "mapped",
        "precopy_data": True,
        "transitions": UNDRAWN + SELF_WRITES,
        "repeatable_state": True,
        "page_size": "4KiB",
        "dirty_scope": "written",
    },
    "limits": {"largest_state": "1MiB", "call": "5s", "test": "30s", "run": "10min"},
    "stimulus": {
        "running": {"sample": read(0x20, 8), "changes_within": "10ms"},
        "dma": {
            "start": [write(0x08, 8, "$iova"), write(0x00, 4, 1)],
            "stop": [write(0x00, 4, 0)],
            "writes_within": "50ms",
        },
        "dirty": {
            "write": [
                *RANGE,
                write(0x14, 4, 0x5A),
                {"wait": {"region": 0, "offset": 0x18, "width": 4, "mask": 3, "equals": 1, "within": "100ms"}},
            ],
            "largest": "64KiB",
            "pin": [*RANGE, write(0x3C, 4, 1)],
            "unpin": [*RANGE, write(0x3C, 4, 2)],
        },
        "visible_state": {
            "set": [write(offset, 8, "$value", region) for region, offset in WORDS],
            "observe": [read(offset, 8, region) for region, offset in WORDS],
        },
        "work": "none",
        "interrupts": "none",
        "save_fault": [write(0x34, 4, 1)],
        "resume_fault": "none",
        "error": [write(0x30, 4, 1)],
        "refusal": "none",
    },
}

INTERFACES = {"v1": ["migration_v1"], "dirty": ["dirty_type1"]}


def profile(name: str, style: type[Style], scratch: Path) -> dict[str, Any]:
    """The content of a style's profile."""
    document = copy.deepcopy(BASE)
    document["name"] = name
    document["description"] = (style.__doc__ or "").splitlines()[0]
    document["interfaces"] = INTERFACES[style.part]
    document["device"]["command"] = [
        *("{python}", "-I", "-S", str(HERE / "server.py")),
        *(f"--style={name}", "--socket-path={socket}", f"--scratch={scratch}"),
    ]
    for key, value in style.profile.items():
        *path, last = key.split(".")
        place = document
        for part in path:
            place = place.setdefault(part, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return document


def put(name: str, style: type[Style], folder: Path) -> Path:
    """Write the profile of a style; return its path. The style's processes share the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "profile.yaml"
    path.write_text(json.dumps(profile(name, style, folder), indent=1) + "\n")
    return path
