# SPDX-License-Identifier: GPL-2.0-only
"""Those of QEMU's trace events that are needed here."""

from __future__ import annotations

import re
from pathlib import Path

#: A buffer that was saved, with its size in bytes.
_BUFFER = re.compile(r"vfio_save_buffer .* size 0x([0-9a-f]{1,16}) ")

#: The most characters of a line that are looked at.
_LONGEST = 4096


def saved_bytes(log: Path, since: int) -> int | None:
    """How many bytes of the device were saved, according to the events after the first ``since`` bytes of the file.

    None if there is no such event.
    """
    found = []
    with open(log, encoding="utf-8", errors="replace") as events:
        events.seek(since)
        while line := events.readline(_LONGEST):
            if match := _BUFFER.match(line):
                found.append(int(match[1], 16))
    return sum(found) if found else None
