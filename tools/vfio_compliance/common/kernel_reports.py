# SPDX-License-Identifier: GPL-2.0-only
"""Files and functions of the kernel that report damage: a warning from them can never be accepted."""

from __future__ import annotations

import re
from typing import Final

_SANITIZERS = "kasan|kfence|kmsan|kcsan|ubsan"

#: What is reported, the beginning or end of the path of a file, and the whole name of a function.
_REPORTS: Final = (
    ("what a sanitizer found", rf"mm/({_SANITIZERS})/|kernel/kcsan/|lib/ubsan", rf"_*({_SANITIZERS})_\w+"),
    (
        "what lockdep found",
        r"kernel/locking/lockdep",
        r"_*lockdep_\w+|__lock_acquire|lock_(acquire|release)|print_\w*(circular|deadlock|unlock)\w*|check_flags",
    ),
    (
        "a lockup or a stall",
        r"kernel/(watchdog|hung_task|rcu/tree_stall)",
        r"(watchdog|softlockup|hardlockup|check_hung)_\w+|rcu_\w*stall\w*",
    ),
    ("a corrupted reference count or list", r"lib/(refcount|list_debug)\.c", r"refcount_\w+|__list_(add|del)_\w+"),
    ("an oops", r"kernel/panic\.c|arch/.*/(fault|traps|dumpstack)\.c", r"_*(oops_\w+|panic|die|page_fault_oops)"),
    ("a taint", r"kernel/taint\.c", r"add_taint\w*"),
)


def damage(file: str, function: str) -> str:
    """What a file and a function of the kernel report, if it can never be accepted; empty for others."""
    for what, path, name in _REPORTS:
        if re.search(rf"(^|/)({path})", file) or re.fullmatch(name, function.partition(".")[0]):
            return what
    return ""
