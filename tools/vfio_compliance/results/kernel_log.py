# SPDX-License-Identifier: GPL-2.0-only
"""Judges a kernel's log and taint: pure functions over what was read from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

_COMPLAINT = re.compile(
    r"WARNING: |BUG: |\bBUG at |Kernel BUG|Oops: |Kernel panic|general protection fault|kernel NULL pointer"
    r"|Unable to handle kernel|stack segment:|divide error:|invalid opcode:|scheduling while atomic"
    r"|INFO: task .* blocked for more than|INFO: (possible|suspicious|inconsistent)|inconsistent lock state"
    r"|possible (recursive|circular) locking|detected stall|soft lockup|hard LOCKUP"
    r"|UBSAN: |KASAN: |KCSAN: |KFENCE: |refcount_t: |list_(add|del) corruption|Object .* leaked"
)

# The names are the kernel's own, bit by bit, as its "tainted" lines print them.
_TAINT = "PFSRMBUDAWCIOELKXTNJ"

#: Bytes of one line that the kernel takes, less room for its prefix.
_LONGEST = 900

_MARK = re.compile(r"vfio-compliance\[(\d+)\] (\d+)\.(\d{6}): case (.*)", re.ASCII)


class Mark(NamedTuple):
    """A line that marks the beginning of a case."""

    #: The id of the test process.
    process: int
    #: When it was written, in microseconds of the monotonic clock: the kernel's log has its own clock.
    moment: int
    case: str


#: Where the kernel was: `RIP: 0010:name+0x1/0x2 [module]`, elsewhere `pc : name+...`; ` name+...` for each caller.
_PLACE = re.compile(r"(?:RIP: [0-9a-f]+:|pc : | *)([\w.$]+\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[[^]]+\])?)", re.ASCII)
_TRACE = "Call Trace:", "Call trace:", "<TASK>"
#: Lines above KFENCE's traces: of the access, where the kernel was; of the memory, where it was allocated or freed.
_OF_ACCESS = re.compile(r"(Out-of-bounds|Use-after-free|Corrupted memory|Invalid)\b.* 0x[0-9a-f]+.*:", re.ASCII)
_OF_MEMORY = re.compile(r"kfence-#\d+: .*")

#: How many callers are kept for each complaint: the innermost.
_CALLERS = 6

#: For how many different complaints the place is kept.
_PLACED = 200

#: What comes before the letters of a new taint.
TAINTED: Final = "the kernel got tainted: "

#: How long something has lasted: a watchdog repeats its complaint with a new time.
_HOW_LONG = re.compile(r" (?:stuck )?for (?:more than )?\d+ ?s(?:econds)?\b", re.ASCII)

#: What a run notes if it cannot read the log.
UNWATCHED: Final = "the kernel's log was not watched"

#: The beginning of a line with the place of a complaint.
INDENT: Final = "  "


class Warned(NamedTuple):
    """The place of a WARN statement in the kernel."""

    file: str
    function: str


_WARNED = (
    re.compile(r"WARNING: CPU: \d+ PID: \d+ at (\S+):\d+ ([\w.$]+)\+0x"),
    re.compile(r"WARNING: (\S+):\d+ at ([\w.$]+)\+0x"),  # since 6.18
)


def written(mark: Mark) -> bytes:
    """What a test process writes into the kernel's log at the beginning of a case."""
    seconds, micros = divmod(mark.moment, 1_000_000)
    # At level info, which a console shows unless it is set to be quiet.
    line = f"<6>vfio-compliance[{mark.process}] {seconds}.{micros:06}: case {mark.case}"
    return line.encode()[:_LONGEST] + b"\n"


def marked(line: str) -> Mark | None:
    """The mark in a line of the log; None without one."""
    found = _MARK.fullmatch(line)
    return Mark(int(found[1]), int(found[2]) * 1_000_000 + int(found[3]), found[4]) if found else None


def unescaped(text: str) -> str:
    """A record of /dev/kmsg as it was printed: its first line, without the line ends that are part of the message."""
    return re.sub(r"(\\x0a)+\Z", "", text.partition("\n")[0])


def complaints(lines: Iterable[str]) -> list[str]:
    """The lines that begin a warning, an oops, a stall or worse."""
    return [line for line in lines if _COMPLAINT.search(line)]


def warned(line: str) -> Warned | None:
    """The place of the WARN statement that a complaint comes from; None for any other complaint.

    What lockdep and RCU report as a warning does not come from a WARN statement.
    """
    found = next(filter(None, (pattern.match(line) for pattern in _WARNED)), None)
    return Warned(found[1], found[2]) if found else None


#: The letters of taints, each with the complaint that comes just before.
_TAINTING = (
    ("L", re.compile(r"soft lockup")),
    ("B", re.compile(r"KASAN: |KFENCE: |BUG: Bad ")),
    (
        "D",
        re.compile(
            r"Oops: |\bBUG at |Kernel BUG|kernel NULL pointer|BUG: unable to handle|Unable to handle kernel"
            r"|general protection fault|stack segment:|divide error:|invalid opcode:"
        ),
    ),
)


def taint_of(line: str) -> str:
    """The letter of the taint that a complaint causes, if the kernel does not have it yet; empty if unknown."""
    return "W" if warned(line) else next((letter for letter, words in _TAINTING if words.search(line)), "")


def source(line: str) -> Warned | str:
    """What two reports of the same complaint have in common: the place if known, else the line without the time."""
    return warned(line) or _HOW_LONG.sub("", line)


class Places:
    """Finds where the kernel was when it complained, in the lines that follow; for equal complaints, only once."""

    def __init__(self) -> None:
        self._known: set[str | Warned] = set()
        self._left = 0
        self._trace = False
        #: The next line of the trace is where the kernel was, not a caller.
        self._innermost = False

    def kept(self, line: str) -> str | None:
        """The line if it is a complaint; if it says where the kernel was at the last one, that place; or None."""
        if _COMPLAINT.search(line):
            which = source(line)
            new = which not in self._known and len(self._known) < _PLACED
            self._left = _CALLERS if new else 0
            self._known |= {which} if new else set()
            self._trace = self._innermost = False
            return line
        if self._left:
            if any(word in line for word in _TRACE):
                self._trace = True
            elif _OF_ACCESS.fullmatch(line):
                self._trace = self._innermost = True
            elif "---[ end trace" in line or "</TASK>" in line or _OF_MEMORY.fullmatch(line):
                self._left = 0
            elif found := _PLACE.fullmatch(line.rstrip()):
                return self._place(found[1], line.startswith(" "))
        return None

    def _place(self, place: str, caller: bool) -> str | None:
        if not caller or self._innermost:
            self._innermost = False
            return f"{INDENT}in {place}"
        if not self._trace:
            return None
        self._left -= 1
        return f"{INDENT}called from {place}"


def each_taint(mask: int) -> list[str]:
    """The letter of each bit of a taint mask; for a bit without a letter, its number."""
    bits = (bit for bit in range(mask.bit_length()) if mask >> bit & 1)
    return [_TAINT[bit] if bit < len(_TAINT) else f"[{bit}]" for bit in bits]


def taint_letters(mask: int) -> str:
    """The letters of a taint mask, e.g. 0x3000 is ``OE``."""
    return "".join(each_taint(mask))
