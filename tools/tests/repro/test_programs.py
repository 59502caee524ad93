# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of recorded calls: steps, what is looked at, what may be left out, and how it is written down."""

from __future__ import annotations

import errno
import struct
import subprocess
from dataclasses import replace

import pytest

from vfio_compliance.common.calls import Behind, Call
from vfio_compliance.common.registers import Register
from vfio_compliance.repro import c, python
from vfio_compliance.repro.buffers import put_together
from vfio_compliance.repro.contents import Contents
from vfio_compliance.repro.evidence import Evidence
from vfio_compliance.repro.fault import AsSeen, Bits, Fault, Refused, Taken, Unlike, Wrong
from vfio_compliance.repro.lift import Lifting
from vfio_compliance.repro.live import SHOWS, SHOWS_NOT
from vfio_compliance.repro.minimise import Limits, minimise
from vfio_compliance.repro.program import Program
from vfio_compliance.repro.steps import Copied, Load, Number, Read, Reset, Save, Write
from vfio_compliance.repro.trace import NoProgram
from vfio_compliance.results.failure import Compared, Failure
from vfio_compliance.rules import load
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
    """Recorded calls, one after the other."""

    def __init__(self):
        self.calls = []

    def add(self, verb, target, number=0, length=0, **more):
        self.calls.append(Call(verb, target, number, length, serial=len(self.calls) + 1, **more))
        return len(self.calls)

    def read(self, name, value, target="region 9"):
        register = PLACES[name]
        data = value.to_bytes(register.width, "little")
        return self.add("read", target, register.offset, register.width, received=data, value=register.width)

    def write(self, name, value, errno=0, target="region 9"):
        register = PLACES[name]
        data, moved = value.to_bytes(register.width, "little"), -1 if errno else register.width
        return self.add("write", target, register.offset, register.width, sent=data, value=moved, errno=errno)

    def data(self, verb, offset, data, target="region 9"):
        moved = {"received": data} if verb == "read" else {"sent": data}
        return self.add(verb, target, offset, len(data), value=len(data), **moved)

    def reset(self, target="device"):
        return self.add("ioctl", target, vfio.VFIO_DEVICE_RESET)

    def saved(self, *buffers):
        """A whole state."""
        left = sum(map(len, buffers))
        for buffer in buffers:
            self.read("pending_bytes", left)
            self.read("data_offset", 0x1000)
            self.read("data_size", len(buffer))
            self.data("read", 0x1000, buffer)
            left -= len(buffer)
        self.read("pending_bytes", 0)

    def given(self, *buffers, errno=0):
        """The same to a device that is resuming; the last data_size is refused with ``errno``."""
        for number, buffer in enumerate(buffers, 1):
            self.read("data_offset", 0x2000)
            self.data("write", 0x2000, buffer)
            self.write("data_size", len(buffer), errno if number == len(buffers) else 0)


def steps_of(trace, fault):
    """The steps of a trace, whole buffers put together."""
    return put_together(Lifting(REGISTERS, Contents(), set(fault.steps)).steps(trace.calls), fault, REGISTERS)


def fault_by(*looks):
    """What is looked at, without words."""
    return Fault(looks, (), "", "", "")


def found(trace, failure):
    """What shows a failure in a trace."""
    return Evidence(failure, trace.calls, [], REGISTERS, Contents()).fault()


# -- steps ------------------------------------------------------------------------------------------------------------


def test_the_place_of_data_is_the_devices_choice():
    """Data is read where data_offset says, as much as data_size says."""
    trace = Trace()
    offset, size = trace.read("data_offset", 0x1000), trace.read("data_size", 3)
    last = trace.data("read", 0x1000, b"abc")
    (*_, read), _ = steps_of(trace, fault_by(Refused(last)))
    assert (read.offset, read.length) == (Number(0, offset), Number(0, size))


def test_what_was_saved_is_given_back():
    """A state that is saved and given back is a step each, whatever its buffers are."""
    trace = Trace()
    trace.reset()
    trace.write("device_state", 2)
    trace.saved(b"first buffer", b"second")
    trace.write("device_state", 4)
    trace.given(b"first buffer", b"second")
    last = trace.write("device_state", 1)
    steps, _ = steps_of(trace, fault_by(Refused(last)))
    assert [type(step) for step in steps] == [Reset, Write, Save, Write, Load, Write]
    assert steps[2].buffers is None
    assert (steps[4].of, steps[4].buffers) == (steps[2].id, None)


def test_a_refusal_inside_is_that_of_the_whole():
    """Where the last data_size is refused, that is looked at in the answer of the step that gives all."""
    trace = Trace()
    trace.write("device_state", 2)
    trace.saved(b"first buffer", b"second")
    trace.write("device_state", 4)
    trace.given(b"first buffer", b"second", errno=22)
    steps, fault = steps_of(trace, fault_by(Refused(len(trace.calls))))
    assert isinstance(steps[-1], Load)
    assert fault.looks == (Refused(steps[-1].id),)


def test_a_state_that_was_not_offered():
    """Where the broken device offered nothing, what another one offers is given back all the same."""
    trace = Trace()
    trace.write("device_state", 2)
    trace.read("pending_bytes", 0)
    trace.write("device_state", 4)
    last = trace.write("device_state", 1)
    steps, _ = steps_of(trace, fault_by(Refused(last)))
    assert [type(step) for step in steps] == [Write, Save, Write, Load, Write]


def test_of_equal_buffers_the_right_one():
    """Buffers that hold the same are given back in their order."""
    trace = Trace()
    trace.write("device_state", 2)
    trace.saved(bytes(16), bytes(16), b"the third buffer")
    trace.write("device_state", 4)
    trace.given(bytes(16), bytes(16), b"the third buffer")
    last = trace.write("device_state", 1)
    steps, _ = steps_of(trace, fault_by(Refused(last)))
    assert [type(step) for step in steps] == [Write, Save, Write, Load, Write]


def test_a_part_of_a_buffer():
    """A piece of what was read, at another place: where it was is known."""
    trace = Trace()
    trace.write("device_state", 2)
    trace.saved(b"0123456789abcdef")
    trace.write("device_state", 4)
    trace.read("data_offset", 0x2000)
    last = trace.data("write", 0x2000, b"23456789ab")
    steps, _ = steps_of(trace, fault_by(Refused(last)))
    assert steps[-1].data == (Copied(steps[1].id, 2, 10),)


def test_data_that_nobody_gave():
    """Much data that is not in the journal is a reason, with what to do about it."""
    trace = Trace()
    trace.read("data_offset", 0x2000)
    trace.add("write", "region 9", 0x2000, 5000, sent=b"x" * 64, sent_digest="ab" * 32, value=5000)
    with pytest.raises(NoProgram, match="run it with --keep-data"):
        steps_of(trace, fault_by(Refused(2)))


# -- what is looked at ------------------------------------------------------------------------------------------------


def test_a_number_by_what_was_compared():
    """The last answer that has the number that was seen."""
    trace = Trace()
    trace.read("reserved", 7)
    last = trace.read("reserved", 7)
    trace.read("device_state", 1)
    failure = Failure("reading the reserved register", "0x0", "0x7", compared=Compared("equal", ("0x7",), ("0x0",)))
    (look,) = found(trace, failure).looks
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
def test_a_failure_by_its_words(expected, seen, look):
    """An older journal has words alone: what they allow is believed where all of it is understood."""
    trace = Trace()
    trace.write("device_state", 0, errno=22)
    trace.read("device_state", 0)
    assert isinstance(found(trace, Failure("reading device_state", expected, seen)).looks[0], look)


def test_bits_of_the_last_bitmap():
    """What a bitmap lacks is looked at bit by bit."""
    trace = Trace()
    request = bytes(48)
    behind = Behind(8, bytes(8))
    last = trace.add(
        "ioctl", "container", type1.VFIO_IOMMU_DIRTY_PAGES, 48, sent=request, received=request, behind=behind
    )
    failure = Failure("fetch", "dirty", "clean", compared=Compared("set", allowed=("0x5",)))
    assert found(trace, failure).looks == (Bits(last, (5,), ()),)


def test_the_same_place_read_twice():
    """Of two looks at the same bytes that should be the same, whichever was right."""
    trace = Trace()
    first = trace.data("read", 0x1000, b"early bytes")
    second = trace.data("read", 0x1000, b"later bytes")
    digests = [Contents().of(call) for call in trace.calls]
    assert digests == [b"early bytes", b"later bytes"]
    from hashlib import sha256

    words = [f"sha256:{sha256(data).hexdigest()}" for data in digests]
    failure = Failure("looking", "the same bytes", "others", compared=Compared("equal", (words[0],), (words[1],)))
    assert found(trace, failure).looks == (Unlike(second, first),)


def test_nothing_to_look_at():
    """A failure that no call shows gives no program, rather than a wrong one."""
    trace = Trace()
    trace.add("close", "device")
    with pytest.raises(NoProgram, match="its calls do not show the failure again"):
        found(trace, Failure("copying memory", "the same", "others"))


# -- minimising -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rule(project):
    """Any rule."""
    return load(project / "suites").rules["v1.reserved.reads-zero"]


def program(rule, trace, fault):
    """A program of a trace."""
    steps, fault = steps_of(trace, fault)
    return Program(rule, "a case", "vfio-user", REGISTERS, tuple(steps), fault)


def long_trace():
    """Two resets, many reads, and a register that is wrong at the end."""
    trace = Trace()
    trace.reset()
    trace.write("device_state", 2)
    trace.reset()
    for _ in range(3):
        trace.read("device_state", 1)
    trace.write("device_state", 3)
    return trace, trace.read("reserved", 7)


def test_what_is_not_needed_goes(rule):
    """What was before the last reset, and what only looks; not the states that the device went through after it."""
    trace, last = long_trace()
    made = minimise(program(rule, trace, fault_by(Taken(last))), lambda _: SHOWS)
    assert [type(step) for step in made.program.steps] == [Reset, Write, Read]
    assert made.reproducible


def test_what_it_takes_stays(rule):
    """A call without which the fault does not show stays, also where it comes before the last reset."""
    trace, last = long_trace()
    needed = trace.calls[1].serial

    def play(tried):
        return SHOWS if any(step.id == needed for step in tried.steps) else SHOWS_NOT

    made = minimise(program(rule, trace, fault_by(Taken(last))), play)
    assert needed in [step.id for step in made.program.steps]


def test_not_reproducible(rule):
    """A fault that shows once in five tries is not told to anybody, and nothing is left out."""
    trace, last = long_trace()
    answers = iter([SHOWS, *[SHOWS_NOT] * 10])
    made = minimise(program(rule, trace, fault_by(Taken(last))), lambda _: next(answers))
    assert not made.reproducible
    assert (made.shown, made.tried) == (1, 5)
    assert len(made.program.steps) == len(trace.calls)


def test_limits(rule):
    """No more is tried than was allowed for."""
    trace, last = long_trace()
    played = []
    minimise(program(rule, trace, fault_by(Taken(last))), lambda each: played.append(each) or SHOWS, Limits(tries=1))
    assert len(played) == 3


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["vfio-user", "kernel-group"])
@pytest.mark.parametrize("saves", [False, True], ids=["registers", "states"])
def test_each_transport_compiles(rule, tmp_path, transport, saves):
    """Without a warning in C, and in Python."""
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
    asked = ["cc", "-Wall", "-Wextra", "-Werror", "-O2", "-o", tmp_path / "built", source]
    subprocess.run(asked, check=True)
    compile(python.render(made, "A head."), "program.py", "exec")


def test_words_of_a_device_stay_words(rule):
    """What a failure says cannot end a string or a comment."""
    trace = Trace()
    last = trace.read("reserved", 7)
    fault = Fault((Taken(last),), (), 'a "quote" \\ */ \n ??/ {', "'", "*/")
    made = program(rule, trace, fault)
    compile("\n".join(python.body(made)), "body.py", "exec")
    lines = list(c.body(made))
    assert not any('"quote"' in line for line in lines)
    assert sum("check(" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("sent", "there", "place"),
    [(0, None, "NULL"), (0x7F00, None, "unmapped"), (0x7F00, bytes(48), "read-only"), (0x7F00, bytes(47), "cut")],
    ids=["null", "unmapped", "read-only", "cut"],
)
def test_an_argument_that_cannot_be_used(rule, tmp_path, sent, there, place):
    """Where an address leads to is known by what lies there; behind a kernel a program has it lie there, too."""
    trace = Trace()
    behind = None if there is None else Behind(len(there), there)
    last = trace.add(
        *("ioctl", "container", type1.VFIO_IOMMU_DIRTY_PAGES), sent=sent.to_bytes(8, "little"), behind=behind
    )
    made = replace(program(rule, trace, fault_by(Taken(last))), transport="kernel-group")
    assert f'request_bad_pointer(device, VFIO_IOMMU_DIRTY_PAGES, "{place}"' in "\n".join(c.body(made))
    source = tmp_path / "program.c"
    source.write_text(c.render(made, "A head."))
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / "built", source], check=True)


@pytest.mark.parametrize(
    ("behind", "memory"),
    [(Behind(8, bytes(8), readonly=True), 8), (Behind(8, bytes(8)), 8), (Behind(0), 0)],
    ids=["read-only", "a word less", "nothing"],
)
def test_memory_that_is_not_fit_for_a_bitmap(rule, tmp_path, behind, memory):
    """It cannot be written, or ends before the bitmap does; the next bitmap has what it needs."""
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
