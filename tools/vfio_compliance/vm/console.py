# SPDX-License-Identifier: GPL-2.0-only
"""What a guest shows of itself: pure functions over its console and taint."""

import re

_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
_CONTROL = re.compile(r"\x1b(\[[0-9;?=]*[A-Za-z]|[c78])|[^\t\n\x20-\x7e\u00a0-\uffff]")


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
