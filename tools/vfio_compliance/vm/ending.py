# SPDX-License-Identifier: GPL-2.0-only
"""How a guest ended that did not end by itself."""

import errno
import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from vfio_compliance.results.verdict import EXIT_BROKEN, EXIT_HANG
from vfio_compliance.vm import last_words
from vfio_compliance.vm.boot import Boot
from vfio_compliance.vm.shown import short


class How(Enum):
    """How it ended; the value is the word in the table."""

    NO_BOOT = "no boot"
    PANIC = "panicked"
    HANG = "hung"
    #: The machine reset itself, or was switched off, without a word.
    RESET = "ended early"
    #: QEMU was killed, or gave up.
    KILLED = "killed"
    INTERRUPTED = "interrupted"


_STAGE = {How.PANIC: "PANIC", How.HANG: "HANG"}


@dataclass(frozen=True)
class Ending:
    """The end of a guest, in words, and the kernel's own."""

    how: How
    #: Without the place.
    text: str
    place: str
    lines: list[str]

    @property
    def stage(self) -> str:
        """The stage that precedes it on the terminal."""
        return _STAGE.get(self.how, "BROKEN")

    @property
    def code(self) -> int:
        """The exit code of the call, if no run says more."""
        return EXIT_HANG if self.how is How.HANG else EXIT_BROKEN

    @property
    def may_go_on(self) -> bool:
        """Whether another guest may get further."""
        return self.how not in (How.NO_BOOT, How.INTERRUPTED)


def ending(boot: Boot, console: Path) -> Ending | None:
    """How a guest ended; None for one that ended by itself."""
    if boot.last("over") is not None:
        return None
    panic = last_words.panic_reason(boot.lines)
    after = f"after {boot.seconds:.0f} s"
    if boot.interrupted:
        how, text = How.INTERRUPTED, "interrupted: the virtual machine has been ended"
    elif boot.stalled:
        how, text = How.NO_BOOT, f"the guest did not come up ({boot.stalled})"
    elif boot.timed_out and not boot.events:
        how, text = How.NO_BOOT, f"the guest did not come up within {boot.seconds:.0f} s"
    elif boot.timed_out:
        how, text = How.HANG, f"the guest missed its deadline, and was ended {after}"
    elif panic:
        how, text = How.PANIC, f"the guest panicked {after}: {panic}"
    elif boot.exit:
        how, text = How.KILLED, f"QEMU ended {after}, by itself or because something ended it"
    else:
        how, text = How.RESET, f"the guest ended early {after}, without saying why"
    lines = last_words.quoted(boot.lines)
    if how is How.NO_BOOT and any(os.strerror(errno.ENOSPC) in line for line in lines):
        text = f"the guest did not come up: the disk of {short(console.parent)} is full: name another folder with --out"
    return Ending(how, text, f"see {short(console)}", lines)
