# SPDX-License-Identifier: GPL-2.0-only
"""Judges a kernel's log and taint: pure functions over what was read of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_COMPLAINT = re.compile(
    r"WARNING: |BUG: |\bBUG at |Kernel BUG|Oops: |Kernel panic|general protection fault|kernel NULL pointer"
    r"|Unable to handle kernel|stack segment:|divide error:|invalid opcode:|scheduling while atomic"
    r"|INFO: task .* blocked for more than|INFO: (possible|suspicious|inconsistent)|inconsistent lock state"
    r"|possible (recursive|circular) locking|detected stall|soft lockup|hard LOCKUP"
    r"|UBSAN: |KASAN: |KCSAN: |KFENCE: |refcount_t: |list_(add|del) corruption|Object .* leaked"
)

# The names are the kernel's own, bit by bit, as its "tainted" lines print them.
_TAINT = "PFSRMBUDAWCIOELKXTNJ"

#: Bytes that the kernel takes of one line, with room for what it puts before it.
_LONGEST = 900

_MARK = re.compile(r"vfio-compliance\[(\d+)\]: case (.*)")


def mark(case: str, process: int) -> bytes:
    """What a test process, given by its number, writes into the kernel's log when a case begins."""
    # As information, which a console shows unless it is told to be quiet.
    return f"<6>vfio-compliance[{process}]: case {case}".encode()[:_LONGEST] + b"\n"


def marked(line: str) -> tuple[int, str] | None:
    """The process and the case that a line of the log marks; None where it marks none."""
    found = _MARK.fullmatch(line)
    return (int(found[1]), found[2]) if found else None


def complaints(lines: Iterable[str]) -> list[str]:
    """The lines that begin a warning, an oops, a stall or worse."""
    return [line for line in lines if _COMPLAINT.search(line)]


def taint_letters(mask: int) -> str:
    """The letters of a taint mask, e.g. 0x3000 is ``OE``; bits without a letter are shown by number."""
    return "".join(
        _TAINT[bit] if bit < len(_TAINT) else f"[{bit}]" for bit in range(mask.bit_length()) if mask >> bit & 1
    )
