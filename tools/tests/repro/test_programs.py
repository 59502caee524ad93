# SPDX-License-Identifier: GPL-2.0-only
"""From recorded calls to a program: its steps, what it checks, what can be left out, and how it is written."""

from __future__ import annotations

import errno
import struct
import subprocess
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance.common.calls import Behind, Call
from vfio_compliance.common.registers import Register
from vfio_compliance.repro import c, python
from vfio_compliance.repro.buffers import put_together
from vfio_compliance.repro.contents import Contents
from vfio_compliance.repro.evidence import Evidence
from vfio_compliance.repro.fault import AsSeen, Bits, Fault, Refused, Simple, Taken, Unlike, Wrong
from vfio_compliance.repro.lift import Lifting
from vfio_compliance.repro.live import SHOWS, SHOWS_NOT
from vfio_compliance.repro.minimise import Limits, minimise
from vfio_compliance.repro.program import Program
from vfio_compliance.repro.steps import Copied, Load, Number, Read, Reset, Save, Step, Write
from vfio_compliance.repro.trace import NoProgram
from vfio_compliance.results.failure import Compared, Failure
from vfio_compliance.rules import Rule, load
from vfio_compliance.uapi import type1, vfio

STATES = {0: "stop", 1: "running", 2: "stop-and-copy", 3: "pre-copy", 4: "resuming"}
REGISTERS = {
    9: [
        Register("device_state", 0, 4, STATES),
        Register("reserved", 4, 4),
        Register("pending_bytes", 8, 8),
        Register("data_offset", 16, 8),
        Register("data_size", 24, 8),
    ]
}
PLACES = {register.name: register for register in REGISTERS[9]}


class Trace:
    """Recorded calls, in their order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def add(self, verb: str, target: str, number: int = 0, length: int = 0, **more: Any) -> int:
        self.calls.append(Call(verb, target, number, length, serial=len(self.calls) + 1, **more))
        return len(self.calls)

    def read(self, name: str, value: int, target: str = "region 9") -> int:
        register = PLACES[name]
        data = value.to_bytes(register.width, "little")
        return self.add("read", target, register.offset, register.width, received=data, value=register.width)

    def write(self, name: str, value: int, errno: int = 0, target: str = "region 9") -> int:
        register = PLACES[name]
        data, moved = value.to_bytes(register.width, "little"), -1 if errno else register.width
        return self.add("write", target, register.offset, register.width, sent=data, value=moved, errno=errno)

    def data(self, verb: str, offset: int, data: bytes, target: str = "region 9") -> int:
        moved = {"received": data} if verb == "read" else {"sent": data}
        return self.add(verb, target, offset, len(data), value=len(data), **moved)

    def reset(self, target: str = "device") -> int:
        return self.add("ioctl", target, vfio.VFIO_DEVICE_RESET)

    def saved(self, *buffers: bytes) -> None:
        """Read a whole state."""
        left = sum(map(len, buffers))
        for buffer in buffers:
            self.read("pending_bytes", left)
            self.read("data_offset", 0x1000)
            self.read("data_size", len(buffer))
            self.data("read", 0x1000, buffer)
            left -= len(buffer)
        self.read("pending_bytes", 0)

    def given(self, *buffers: bytes, errno: int = 0) -> None:
        """Give a whole state to a device that is resuming; the last data_size is refused with ``errno``, if not 0."""
        for number, buffer in enumerate(buffers, 1):
            self.read("data_offset", 0x2000)
            self.data("write", 0x2000, buffer)
            self.write("data_size", len(buffer), errno if number == len(buffers) else 0)


def steps_of(trace: Trace, fault: Fault) -> tuple[list[Step], Fault]:
    """The steps of a trace, in which the calls for whole buffers are put together."""
    return put_together(Lifting(REGISTERS, Contents(), set(fault.steps)).steps(trace.calls), fault, REGISTERS)


def fault_by(*looks: Simple) -> Fault:
    """A fault with these checks, without words."""
    return Fault(looks, (), "", "", "")


def found(trace: Trace, failure: Failure) -> Fault:
    """The fault that a failure shows in a trace."""
    return Evidence(failure, trace.calls, [], REGISTERS, Contents()).fault()


# -- steps ------------------------------------------------------------------------------------------------------------


def test_the_device_chooses_the_place_of_data() -> None:
    """Data is read at the offset in data_offset, of the size in data_size."""
    trace = Trace()
    offset, size = trace.read("data_offset", 0x1000), trace.read("data_size", 3)
    last = trace.data("read", 0x1000, b"abc")
    (*_, read), _ = steps_of(trace, fault_by(Refused(last)))
    assert isinstance(read, Read)
    assert (read.offset, read.length) == (Number(0, offset), Number(0, size))


def test_a_saved_state_is_given_back() -> None:
    """Saving a state and giving it back is one step each, whatever its buffers are."""
    trace = Trace()
    trace.reset()
    trace.write("device_state", 2)
    trace.saved(b"first buffer", b"second")
    trace.write("device_state", 4)
    trace.given(b"first buffer", b"second")
    last = trace.write("device_state", 1)
    steps, _ = steps_of(trace, fault_by(Refused(last)))
    assert [type(step) for step in steps] == [Reset, Write, Save, Write, Load, Write]
    (save,) = (step for step in steps if isinstance(step, Save))
    (load,) = (step for step in steps if isinstance(step, Load))
    assert save.buffers is None
    assert (load.of, load.buffers) == (save.id, None)


def test_a_refused_buffer_is_a_refused_state() -> None:
    """If the last data_size is refused, the answer of the step that gives the whole state is checked."""
    trace = Trace()
    trace.write("device_state", 2)
    trace.saved(b"first buffer", b"second")
    trace.write("device_state", 4)
    trace.given(b"first buffer", b"second", errno=22)
    steps, fault = steps_of(trace, fault_by(Refused(len(trace.calls))))
    assert isinstance(steps[-1], Load)
    assert fault.looks == (Refused(steps[-1].id),)


def test_a_state_that_was_never_offered() -> None:
    """If the broken device offered nothing, what another one offers is given back nevertheless."""
    trace = Trace()
    trace.write("device_state", 2)
    trace.read("pending_bytes", 0)
    trace.write("device_state", 4)
    last = trace.write("device_state", 1)
    steps, _ = steps_of(trace, fault_by(Refused(last)))
    assert [type(step) for step in steps] == [Write, Save, Write, Load, Write]


def test_equal_buffers_keep_their_order() -> None:
    """Buffers with the same content are given back in their order."""
    trace = Trace()
    trace.write("device_state", 2)
    trace.saved(bytes(16), bytes(16), b"the third buffer")
    trace.write("device_state", 4)
    trace.given(bytes(16), bytes(16), b"the third buffer")
    last = trace.write("device_state", 1)
    steps, _ = steps_of(trace, fault_by(Refused(last)))
    assert [type(step) for step in steps] == [Write, Save, Write, Load, Write]


def test_a_part_of_a_buffer() -> None:
    """A part of the data read, written elsewhere: the program copies it from where it was."""
    trace = Trace()
    trace.write("device_state", 2)
    trace.saved(b"0123456789abcdef")
    trace.write("device_state", 4)
    trace.read("data_offset", 0x2000)
    last = trace.data("write", 0x2000, b"23456789ab")
    steps, _ = steps_of(trace, fault_by(Refused(last)))
    write = steps[-1]
    assert isinstance(write, Write)
    assert write.data == (Copied(steps[1].id, 2, 10),)


def test_data_that_was_not_kept() -> None:
    """If long data is not in the journal, there is no program, and the message says what to do."""
    trace = Trace()
    trace.read("data_offset", 0x2000)
    trace.add("write", "region 9", 0x2000, 5000, sent=b"x" * 64, sent_digest="ab" * 32, value=5000)
    with pytest.raises(NoProgram, match="run it with --keep-data"):
        steps_of(trace, fault_by(Refused(2)))


# -- what is checked ---------------------------------------------------------------------------------------------------


def test_a_number_that_was_compared() -> None:
    """The last answer with the number that was seen is checked."""
    trace = Trace()
    trace.read("reserved", 7)
    last = trace.read("reserved", 7)
    trace.read("device_state", 1)
    failure = Failure("reading the reserved register", "0x0", "0x7", compared=Compared("equal", ("0x7",), ("0x0",)))
    (look,) = found(trace, failure).looks
    assert isinstance(look, Wrong)
    assert (look.place.step, look.place.name, look.allowed) == (last, "reserved", (0,))


@pytest.mark.parametrize(
    ("expected", "seen", "look"),
    [
        ("running", "stop", Wrong),
        ("running or error", "stop", AsSeen),
        ("something else", "stop", AsSeen),
        ("success", "EINVAL (Invalid argument)", Refused),
    ],
)
def test_a_failure_by_its_words(expected: str, seen: str, look: type[Simple]) -> None:
    """An older journal has only words: the values that they allow are used if all of them are understood."""
    trace = Trace()
    trace.write("device_state", 0, errno=22)
    trace.read("device_state", 0)
    assert isinstance(found(trace, Failure("reading device_state", expected, seen)).looks[0], look)


def test_bits_of_the_last_bitmap() -> None:
    """The missing bits of a bitmap are checked one by one."""
    trace = Trace()
    request = bytes(48)
    behind = Behind(8, bytes(8))
    last = trace.add(
        "ioctl", "container", type1.VFIO_IOMMU_DIRTY_PAGES, 48, sent=request, received=request, behind=behind
    )
    failure = Failure("fetch", "dirty", "clean", compared=Compared("set", allowed=("0x5",)))
    assert found(trace, failure).looks == (Bits(last, (5,), ()),)


def test_the_same_place_read_twice() -> None:
    """Two reads of the same bytes that should agree are compared with each other."""
    trace = Trace()
    first = trace.data("read", 0x1000, b"early bytes")
    second = trace.data("read", 0x1000, b"later bytes")
    assert [Contents().of(call) for call in trace.calls] == [b"early bytes", b"later bytes"]
    words = [f"sha256:{sha256(data).hexdigest()}" for data in (b"early bytes", b"later bytes")]
    failure = Failure("looking", "the same bytes", "others", compared=Compared("equal", (words[0],), (words[1],)))
    assert found(trace, failure).looks == (Unlike(second, first),)


def test_a_failure_without_evidence() -> None:
    """There is no program of a failure that no call shows, rather than a wrong one."""
    trace = Trace()
    trace.add("close", "device")
    with pytest.raises(NoProgram, match="its calls do not show the failure again"):
        found(trace, Failure("copying memory", "the same", "others"))


# -- minimising -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rule(project: Path) -> Rule:
    """Any rule."""
    return load(project / "suites").rules["v1.reserved.reads-zero"]


def program(rule: Rule, trace: Trace, fault: Fault) -> Program:
    """The program of a trace."""
    steps, fault = steps_of(trace, fault)
    return Program(rule, "a case", "vfio-user", REGISTERS, tuple(steps), fault)


def long_trace() -> tuple[Trace, int]:
    """Two resets, many reads, and a register that is wrong at the end."""
    trace = Trace()
    trace.reset()
    trace.write("device_state", 2)
    trace.reset()
    for _ in range(3):
        trace.read("device_state", 1)
    trace.write("device_state", 3)
    return trace, trace.read("reserved", 7)


def test_unneeded_calls_are_left_out(rule: Rule) -> None:
    """Calls before the last reset, and those that only read, are left out, but not later changes of state."""
    trace, last = long_trace()
    made = minimise(program(rule, trace, fault_by(Taken(last))), lambda _: SHOWS)
    assert [type(step) for step in made.program.steps] == [Reset, Write, Read]
    assert made.reproducible


def test_needed_calls_stay(rule: Rule) -> None:
    """A call without which the fault does not show stays, even if it was made before the last reset."""
    trace, last = long_trace()
    needed = trace.calls[1].serial

    def play(tried: Program) -> int:
        return SHOWS if any(step.id == needed for step in tried.steps) else SHOWS_NOT

    made = minimise(program(rule, trace, fault_by(Taken(last))), play)
    assert needed in [step.id for step in made.program.steps]


def test_a_fault_that_is_not_reproducible(rule: Rule) -> None:
    """A fault that shows once in five tries is not reported as reproducible, and nothing is left out."""
    trace, last = long_trace()
    answers = iter([SHOWS, *[SHOWS_NOT] * 10])
    made = minimise(program(rule, trace, fault_by(Taken(last))), lambda _: next(answers))
    assert not made.reproducible
    assert (made.shown, made.tried) == (1, 5)
    assert len(made.program.steps) == len(trace.calls)


def test_minimising_keeps_its_limit(rule: Rule) -> None:
    """No more tries are made than the limit allows."""
    trace, last = long_trace()
    played: list[Program] = []

    def play(tried: Program) -> int:
        played.append(tried)
        return SHOWS

    minimise(program(rule, trace, fault_by(Taken(last))), play, Limits(tries=1))
    assert len(played) == 3


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["vfio-user", "kernel-group"])
@pytest.mark.parametrize("saves", [False, True], ids=["registers", "states"])
def test_programs_of_each_transport_compile(rule: Rule, tmp_path: Path, transport: str, saves: bool) -> None:
    """In C without a warning, and in Python."""
    trace = Trace()
    trace.reset()
    if saves:
        trace.write("device_state", 2)
        trace.saved(b"a buffer of the state")
        trace.write("device_state", 4)
        trace.given(b"a buffer of the state")
    last = trace.read("reserved", 7)
    made = replace(program(rule, trace, fault_by(Taken(last))), transport=transport)
    source = tmp_path / "program.c"
    source.write_text(c.render(made, "A head."))
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-O2", "-o", tmp_path / "built", source], check=True)
    compile(python.render(made, "A head."), "program.py", "exec")


def test_words_of_a_failure_stay_words(rule: Rule) -> None:
    """The words of a failure cannot end a string or a comment."""
    trace = Trace()
    last = trace.read("reserved", 7)
    fault = Fault((Taken(last),), (), 'a "quote" \\ */ \n ??/ {', "'", "*/")
    made = program(rule, trace, fault)
    compile("\n".join(python.body(made)), "body.py", "exec")
    lines = list(c.body(made))
    assert not any('"quote"' in line for line in lines)
    assert sum("check(" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("sent", "found", "kind"),
    [(0, None, "NULL"), (0x7F00, None, "unmapped"), (0x7F00, bytes(48), "read-only"), (0x7F00, bytes(47), "cut")],
    ids=["null", "unmapped", "read-only", "cut"],
)
def test_a_bad_pointer_is_made_again(rule: Rule, tmp_path: Path, sent: int, found: bytes | None, kind: str) -> None:
    """The memory at an address shows which kind of bad pointer it was; a program makes the same kind for a kernel."""
    trace = Trace()
    behind = None if found is None else Behind(len(found), found)
    last = trace.add(
        *("ioctl", "container", type1.VFIO_IOMMU_DIRTY_PAGES), sent=sent.to_bytes(8, "little"), behind=behind
    )
    made = replace(program(rule, trace, fault_by(Taken(last))), transport="kernel-group")
    assert f'request_bad_pointer(device, VFIO_IOMMU_DIRTY_PAGES, "{kind}"' in "\n".join(c.body(made))
    source = tmp_path / "program.c"
    source.write_text(c.render(made, "A head."))
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / "built", source], check=True)


@pytest.mark.parametrize(
    ("behind", "memory"),
    [(Behind(8, bytes(8), readonly=True), 8), (Behind(8, bytes(8)), 8), (Behind(0), 0)],
    ids=["read-only", "a word less", "nothing"],
)
def test_memory_that_cannot_hold_a_bitmap(rule: Rule, tmp_path: Path, behind: Behind, memory: int) -> None:
    """The memory is read-only, or too short; the next bitmap gets the size that it needs."""
    trace = Trace()
    asked = struct.pack("<IIQQQQQ", 48, type1.DirtyPagesFlags.GET_BITMAP, 0, 128 * 4096, 4096, 16, 0x7F00)
    get = ("ioctl", "container", type1.VFIO_IOMMU_DIRTY_PAGES, 48)
    trace.add(*get, sent=asked, received=asked, behind=behind, value=-1, errno=errno.EFAULT)
    last = trace.add(*get, sent=asked, received=asked, behind=Behind(16, bytes(16)))
    made = replace(program(rule, trace, fault_by(Taken(last))), transport="kernel-group")
    for lines in (c.body(made), python.body(made)):
        body = "\n".join(lines)
        assert f"VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, 0x0, 0x80000, 0x1000, 16, {memory})" in body
        assert "get_bitmap(device, 0x0, 0x80000, 0x1000, 16)" in body
        assert body.count("bitmaps_are_readonly") == 2 * behind.readonly
    source = tmp_path / "program.c"
    source.write_text(c.render(made, "A head."))
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / "built", source], check=True)
    compile(python.render(made, "A head."), "program.py", "exec")
