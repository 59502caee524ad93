# SPDX-License-Identifier: GPL-2.0-only
"""The judge of extensible information, with a tiny kernel that reads and writes real addresses, also bad ones."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack

import pytest

from vfio_compliance.dirty_type1.argsz_probe import CONTAINER, REGION, ArgszProbe, Shape
from vfio_compliance.run.checks import RuleBroken
from vfio_compliance.transport import GuardedBuffer, Outcome, libc
from vfio_compliance.transport.base import failure, success

WHOLE = 64


def fetch(address: int, length: int) -> bytes | None:
    """Bytes at an address of this process; None if they cannot be read."""
    descriptor = os.memfd_create("fetch")
    try:
        taken = libc.pwrite64(descriptor, libc.pointer(address), length, 0)
        return os.pread(descriptor, length, 0) if taken == length else None
    finally:
        os.close(descriptor)


class Kernel:
    """Answers as Linux does for a structure of this shape, unless it is ``broken``."""

    def __init__(self, shape: Shape, broken: str = "", whole: int = WHOLE) -> None:
        self.shape, self.broken, self.whole = shape, broken, whole

    def __call__(self, argument: bytearray | int) -> Outcome:
        with ExitStack() as kept:
            if isinstance(argument, int):
                return self.answer(argument)
            memory = kept.enter_context(GuardedBuffer(len(argument)))
            memory.view[:] = argument
            outcome = self.answer(memory.address)
            argument[:] = bytes(memory.view)
            return outcome

    def answer(self, address: int) -> Outcome:
        shape = self.shape
        given = fetch(address, shape.least)
        if given is None:
            return failure(errno.EFAULT)
        argsz = int.from_bytes(given[:4], "little")
        if argsz < shape.least and self.broken != "tiny accepted":
            return failure(errno.EINVAL)
        if argsz < self.whole and self.broken == "short refused":
            return failure(errno.EINVAL)
        new_argsz, first = argsz, shape.fixed
        if argsz < self.whole:
            new_argsz = argsz if self.broken == "argsz kept" else self.whole
            first = 8 if self.broken == "link without room" else 0
        elif self.broken == "link outside":
            first = self.whole - 4
        fixed = bytearray(range(shape.fixed))
        flags = shape.caps if self.whole > shape.fixed else 0
        fixed[:8] = new_argsz.to_bytes(4, "little") + flags.to_bytes(4, "little")
        if self.whole > shape.fixed:
            fixed[shape.cap_offset : shape.cap_offset + 4] = first.to_bytes(4, "little")
        if self.broken == "other answer" and argsz > self.whole:
            fixed[-1] ^= 1
        if self.broken == "field without room" and argsz < self.whole:
            fixed[shape.least - 1] ^= 1
        answer = bytes(fixed) + b"\x5a" * (self.whole - shape.fixed)
        count = argsz if argsz >= self.whole else min(argsz, shape.fixed)
        if self.broken == "past argsz":
            count = self.whole
        return success(0) if libc.store(address, answer[:count]) else failure(errno.EFAULT)


SIZES = (0, 3, 15, 16, 18, 20, 24, 31, 32, 40, WHOLE - 1, WHOLE, WHOLE + 1, 4096, 2**32 - 1)


@pytest.mark.parametrize("shape", [CONTAINER, REGION], ids=["container", "region"])
@pytest.mark.parametrize("whole", [WHOLE, 0], ids=["with capabilities", "without"])
@pytest.mark.parametrize("argsz", SIZES)
def test_good_answer_passes(shape: Shape, whole: int, argsz: int) -> None:
    """With any argsz."""
    probe = ArgszProbe(shape, Kernel(shape, whole=whole or shape.fixed))
    probe.judge(argsz)
    assert probe.needed == (whole or shape.fixed)


@pytest.mark.parametrize(
    ("shape", "argsz"),
    [(shape, argsz) for shape in (CONTAINER, REGION) for argsz in SIZES if shape.least <= argsz <= 4096],
)
@pytest.mark.parametrize("whole", [WHOLE, 0], ids=["with capabilities", "without"])
def test_good_answer_before_an_inaccessible_page_passes(shape: Shape, whole: int, argsz: int) -> None:
    """With any argsz that fits."""
    probe = ArgszProbe(shape, Kernel(shape, whole=whole or shape.fixed))
    probe.judge_guarded(argsz)
    assert probe.needed == (whole or shape.fixed)


@pytest.mark.parametrize("shape", [CONTAINER, REGION], ids=["container", "region"])
@pytest.mark.parametrize(
    ("broken", "argsz", "message"),
    [
        ("past argsz", 40, "nothing written from byte 40 on"),
        ("argsz kept", 40, "what they need as well"),
        ("short refused", 32, "EINVAL"),
        ("tiny accepted", 15, "an error"),
        ("link without room", 40, "no room for capabilities"),
        ("link outside", WHOLE, "cap_offset"),
        ("other answer", WHOLE + 1, "comparing what came"),
        ("field without room", 40, "comparing the fixed part"),
    ],
)
def test_wrong_answer_is_caught(shape: Shape, broken: str, argsz: int, message: str) -> None:
    """The message names its first fault."""
    with pytest.raises(RuleBroken, match=message):
        ArgszProbe(shape, Kernel(shape, broken)).judge(argsz)


def test_write_past_argsz_hits_the_guard() -> None:
    """The page after the argument is inaccessible, so the request fails."""
    with pytest.raises(RuleBroken, match="inaccessible page"):
        ArgszProbe(CONTAINER, Kernel(CONTAINER, "past argsz")).judge_guarded(32)


def put_nowhere(where: str, argument: bytes) -> int:
    return 0


def test_bad_address_must_be_refused() -> None:
    """A kernel that accepts it is caught."""
    ArgszProbe(CONTAINER, Kernel(CONTAINER)).judge_bad_pointer("NULL", put_nowhere)
    with pytest.raises(RuleBroken, match="an address that is NULL"):
        ArgszProbe(
            CONTAINER, lambda argument: Kernel(CONTAINER)(argument) if argument else success(0)
        ).judge_bad_pointer("NULL", put_nowhere)
