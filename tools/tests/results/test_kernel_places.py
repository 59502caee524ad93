# SPDX-License-Identifier: GPL-2.0-only
"""Where the kernel was when it complained, in logs as kernels write them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vfio_compliance.results.events import Kernel
from vfio_compliance.results.inflight import LastCall
from vfio_compliance.results.kernel_log import Places, Warned, unescaped, warned

WARNING = "WARNING: CPU: 0 PID: 233 at drivers/vfio/vfio_main.c:77 vfio_do+0x1f/0x40 [vfio]"

TRACE = [
    "Modules linked in: vfio_refdriver(OE) vfio",
    "CPU: 0 UID: 0 PID: 233 Comm: python Tainted: G           OE",
    "RIP: 0010:refd_write+0x12/0x90 [vfio_refdriver]",
    "Code: 00 01 02",
    "RSP: 0018:ffffa0c5c0a3bd98 EFLAGS: 00010246",
    "Call Trace:",
    " <TASK>",
    " ? __die_body.cold+0x19/0x27",
    " ? exc_page_fault+0x7e/0x180",
    " vfio_write+0x5f/0xb0 [vfio 0123456789abcdef]",
    " vfs_write.part.0+0xf5/0x410",
    " entry_SYSCALL_64_after_hwframe+0x76/0x7e",
    "RIP: 0033:0x7f2ae5b2c9e0",
    " </TASK>",
    "---[ end trace 0000000000000000 ]---",
    "RIP: 0010:refd_write+0x12/0x90 [vfio_refdriver]",
]

PLACES = [
    "  in refd_write+0x12/0x90 [vfio_refdriver]",
    "  called from vfio_write+0x5f/0xb0 [vfio 0123456789abcdef]",
    "  called from vfs_write.part.0+0xf5/0x410",
    "  called from entry_SYSCALL_64_after_hwframe+0x76/0x7e",
]


def kept(lines: Sequence[str]) -> list[str]:
    """The lines that are kept of a log."""
    places = Places()
    return [kept for line in lines if (kept := places.kept(line))]


def test_oops() -> None:
    """The function that failed and its callers are kept, without the uncertain frames (``?``)."""
    head = ["BUG: kernel NULL pointer dereference, address: 0000000000000000", "Oops: Oops: 0002 [#1] PREEMPT SMP"]
    assert kept(["all is well", *head, *TRACE, " after_it+0x1/0x2"]) == [*head, *PLACES]


def test_kfence() -> None:
    """The access and its callers are kept, not the traces of the allocation and the free."""
    found = "BUG: KFENCE: use-after-free read in refd_write+0x12/0x90 [vfio_refdriver]"
    frames = [" refd_write+0x12/0x90 [vfio_refdriver]", " vfs_write+0xf5/0x410", " do_syscall_64+0x87/0x1b0"]
    memory = ["", "kfence-#166: 0x0000d2a82c0c-0x0000381b3eed, size=64, cache=kmalloc-64", "allocated by task 223:"]
    lines = [found, "Use-after-free read at 0x00000000d2a82c0c (in kfence-#166):", *frames, *memory, *frames]
    assert kept(lines) == [
        found,
        "  in refd_write+0x12/0x90 [vfio_refdriver]",
        "  called from vfs_write+0xf5/0x410",
        "  called from do_syscall_64+0x87/0x1b0",
    ]


@pytest.mark.parametrize("text", ["a message", r"a message\x0a", r"a message\x0a\x0a", "a message\n SUBSYSTEM=pci\n"])
def test_a_record_as_it_was_printed(text: str) -> None:
    """Escaped line ends are removed, and so are the device properties that follow the message."""
    assert unescaped(text) == "a message"


def test_another_architecture() -> None:
    """The program counter has another name there."""
    lines = ["Oops: 1", "pc : refd_write+0x12/0x90 [vfio_refdriver]", "Call trace:", " vfio_write+0x5f/0xb0 [vfio]"]
    assert kept(lines)[1:] == [
        "  in refd_write+0x12/0x90 [vfio_refdriver]",
        "  called from vfio_write+0x5f/0xb0 [vfio]",
    ]


def test_only_after_a_complaint() -> None:
    """A trace that was requested is not a complaint."""
    assert kept(TRACE) == []


def test_a_repeated_warning() -> None:
    """It is kept without its places; and only the nearest callers are kept."""
    again = WARNING.replace("CPU: 0 PID: 233", "CPU: 1 PID: 9")
    assert kept([WARNING, *TRACE, again, *TRACE]) == [WARNING, *PLACES, again]
    deep = [f" caller{number}+0x1/0x2" for number in range(20)]
    assert kept([WARNING, "Call Trace:", *deep])[1:] == [f"  called from{caller}" for caller in deep[:6]]


@pytest.mark.parametrize(
    ("line", "where"),
    [
        (WARNING, Warned("drivers/vfio/vfio_main.c", "vfio_do")),
        (
            "WARNING: drivers/vfio/vfio_main.c:77 at vfio_do+0x1f/0x40 [vfio], CPU#0: python/233",
            Warned("drivers/vfio/vfio_main.c", "vfio_do"),
        ),
        ("WARNING: possible circular locking dependency detected", None),
        ("WARNING: suspicious RCU usage", None),
        ("WARNING: bad unlock balance detected!", None),
        ("WARNING: stack recursion on stack type 4", None),
        ("BUG: KASAN: slab-out-of-bounds in vfio_do+0x1f/0x40", None),
        ("the kernel got tainted: W", None),
        ("Oops: WARNING: CPU: 0 PID: 233 at drivers/a.c:77 b+0x1f/0x40", None),
        ("a.c: WARNING: CPU: 0 PID: 233 at drivers/a.c:77 b+0x1f/0x40", None),
    ],
)
def test_warned(line: str, where: Warned | None) -> None:
    """Only the output of a WARN statement names its file and function."""
    assert warned(line) == where


def test_a_complaint_as_text() -> None:
    """The call comes after the complaint, before the places."""
    call = LastCall("write", "region 9", 0, 4, 1.0)
    assert str(Kernel((WARNING, *PLACES[:1]), "case", call)).splitlines() == [
        WARNING,
        "  last call before it: write of 4 bytes at 0x0 of region 9",
        PLACES[0],
    ]
