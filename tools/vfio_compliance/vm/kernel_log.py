# SPDX-License-Identifier: GPL-2.0-only
"""Judges a kernel's log and taint: pure functions over text."""

import re
from collections.abc import Iterable

_SPLAT = re.compile(
    r"WARNING: |BUG: |\bBUG at |Oops: |general protection fault|Kernel panic|Unable to handle kernel"
    r"|stack segment:|divide error:|invalid opcode:|INFO: task .* blocked for more than|detected stall"
    r"|soft lockup|hard LOCKUP|Kernel BUG|UBSAN: |refcount_t: |kernel NULL pointer|possible recursive locking"
    r"|possible circular locking|list_(add|del) corruption|scheduling while atomic|Object .* leaked"
)
# The names are the kernel's own, bit by bit, as its "tainted" lines print them.
_TAINT = "PFSRMBUDAWCIOELKXTNJ"
_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
_CONTROL = re.compile(r"\x1b(\[[0-9;?=]*[A-Za-z]|[c78])|[^\t\n\x20-\x7e\u00a0-\uffff]")


def splats(lines: Iterable[str]) -> list[str]:
    """The lines that begin a warning, an oops, a stall or worse."""
    return [line for line in lines if _SPLAT.search(line)]


def taint_letters(mask: int) -> str:
    """The letters of a taint mask, e.g. 0x3000 is ``OE``; bits without a letter are shown by number."""
    return "".join(
        _TAINT[bit] if bit < len(_TAINT) else f"[{bit}]" for bit in range(mask.bit_length()) if mask >> bit & 1
    )


def foreign_taint(before: int, after: int) -> int:
    """The new bits, but for those that loading an unsigned module from outside the tree brings (O, E)."""
    return after & ~before & ~(1 << 12 | 1 << 13)


def panic_reason(console: str) -> str | None:
    """Why the kernel panicked, or None when it did not."""
    match = _PANIC.search(console)
    return match[1].strip() if match else None


def plain(line: str) -> str:
    """A console line without terminal control: what firmware and kernel mean, not how they paint it."""
    return _CONTROL.sub("", line).rstrip()
