# SPDX-License-Identifier: GPL-2.0-only
"""The console of a guest: how it is kept, and what is quoted from it if the guest dies."""

from pathlib import Path

import pytest

from vfio_compliance.results.kernel_log import taint_letters
from vfio_compliance.vm.console import Console, foreign_taint, plain
from vfio_compliance.vm.last_words import panic_reason, quoted, shown


def test_only_the_taint_of_an_out_of_tree_module_is_expected() -> None:
    assert foreign_taint(0, 0x3000) == 0
    assert taint_letters(foreign_taint(0x3000, 0x3280)) == "DW"


def test_control_sequences_are_removed_from_a_line() -> None:
    assert plain("\x1b[2J\x1bc[    1.0] booted\r\n") == "[    1.0] booted"


def test_a_long_console_keeps_its_head_and_its_tail(tmp_path: Path) -> None:
    """The size of the file is bounded, however much a driver logs; omitted lines are counted."""
    log = Console(tmp_path / "console.log", head=100, tail=50)
    for number in range(1000):
        log.line(f"line {number}")
    log.close()
    lines = (tmp_path / "console.log").read_text().splitlines()
    (gap,) = [place for place, line in enumerate(lines) if line.startswith("[...")]
    assert lines[:gap] == [f"line {number}" for number in range(gap)]
    assert lines[gap + 1 :] == [f"line {number}" for number in range(1000 - (len(lines) - gap - 1), 1000)]
    assert lines[gap] == f"[... {1000 - (len(lines) - 1)} lines left out here ...]"
    assert (tmp_path / "console.log").stat().st_size < 250


def test_a_line_is_on_disk_at_once(tmp_path: Path) -> None:
    log = Console(tmp_path / "console.log")
    log.line("[    1.0] first")
    assert (tmp_path / "console.log").read_text() == "[    1.0] first\n"


def test_a_full_disk_does_not_lose_the_last_lines() -> None:
    log = Console(Path("/dev/full"))
    log.line("[    1.0] first")
    log.line("[    2.0] last")
    log.close()
    assert log.complaint == "/dev/full: No space left on device"
    assert list(log.recent) == ["[    1.0] first", "[    2.0] last"]


OOPS = """\
[   70.1] BUG: kernel NULL pointer dereference, address: 0000000000000008
[   70.2] #PF: supervisor write access in kernel mode
[   70.3] Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI
[   70.4] RIP: 0010:driver_write+0x1f/0x40 [driver]
[   70.5] Call Trace:
[   70.6]  vfio_device_fops_write+0x25/0x40 [vfio]
[   70.7] ---[ end trace 0000000000000000 ]---
[   70.8] RIP: 0010:driver_write+0x1f/0x40 [driver]
""".splitlines()
WARNING = """\
[   10.1] WARNING: CPU: 0 PID: 1 at kernel/early.c:7 early+0x1/0x2
[   10.2] Call Trace:
[   10.3] ---[ end trace 0000000000000000 ]---
""".splitlines()
PANIC = """\
[   71.1] Kernel panic - not syncing: Fatal exception
[   71.2] Kernel Offset: disabled
[   71.3] ---[ end Kernel panic - not syncing: Fatal exception ]---
""".splitlines()
BETWEEN = [f"[   50.{number}] something else" for number in range(200)]
AFTER = ["qemu: the machine is off"]


@pytest.mark.parametrize(
    ("console", "expected"),
    [
        pytest.param([*WARNING, *BETWEEN, *OOPS, *PANIC, *AFTER], [*OOPS, *PANIC], id="the oops that led to the panic"),
        pytest.param([*WARNING, *OOPS, *PANIC], [*OOPS, *PANIC], id="not the complaint before it"),
        pytest.param([*OOPS, *BETWEEN, *PANIC, *AFTER], PANIC, id="a panic long after an oops"),
        pytest.param([*BETWEEN, *PANIC], PANIC, id="a panic without an oops"),
        pytest.param([*WARNING, *BETWEEN, *OOPS], OOPS, id="an oops without a panic"),
        pytest.param(BETWEEN, BETWEEN[-8:], id="no fault"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_the_lines_about_the_fault_are_quoted(console: list[str], expected: list[str]) -> None:
    assert quoted(console) == expected


def test_the_quote_is_bounded() -> None:
    trace = [OOPS[0], *(f"[   70.5]  function_{number}+0x1/0x2" for number in range(5000)), *PANIC]
    words = quoted(trace)
    assert len(words) < 100
    assert words[-3:] == PANIC


def test_a_panic_in_the_log_of_a_program_is_not_one() -> None:
    assert panic_reason(["[    1.0] suite: Kernel panic - not syncing: is looked for"]) == ""
    assert panic_reason(["[    1.0][  T90] Kernel panic - not syncing: sysrq"]) == "sysrq"


def test_the_journal_has_a_short_version() -> None:
    """It has the complaints and the places; the console has the rest."""
    assert shown([*OOPS, *PANIC], str) == [
        "BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI",
        "  in driver_write+0x1f/0x40 [driver]",
        "  called from vfio_device_fops_write+0x25/0x40 [vfio]",
        "Kernel panic - not syncing: Fatal exception",
    ]
