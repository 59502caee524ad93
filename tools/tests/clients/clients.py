# SPDX-License-Identifier: GPL-2.0-only
"""Clients of a device that answers as a good one, written access by access."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from vfio_compliance.migration_v1.client import History, Judge
from vfio_compliance.run.client import Access
from vfio_compliance.run.ledger import Offence
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DATA_SIZE, DEVICE_STATE, PENDING_BYTES, DeviceState, Register

RUNNING, STOP = DeviceState.RUNNING, DeviceState.STOP
PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY
RESUMING, ERROR = DeviceState.RESUMING, DeviceState.ERROR

#: The offset of the device's data.
BASE = 0x1000

OPEN, CLOSE, RESET, GAP = Access("open"), Access("close"), Access("reset"), Access("gap")


def read(register: Register, value: int) -> Access:
    """A register was read and gave ``value``."""
    return Access("read", register.offset, register.width, register.width, value.to_bytes(register.width, "little"))


def write(register: Register, value: int, ok: bool = True) -> Access:
    """A register was written, or the write was refused."""
    done = register.width if ok else -1
    return Access("write", register.offset, register.width, done, value.to_bytes(register.width, "little"))


def refused(register: Register) -> Access:
    """A read of a register that failed."""
    return Access("read", register.offset, register.width, -1)


def moved(verb: str, content: bytes, at: int = BASE, first: int = 64) -> Access:
    """Data was read or written; the trace has the first bytes, and a digest if there are more."""
    digest = hashlib.sha256(content).hexdigest() if len(content) > first else ""
    assert verb in ("read", "write")
    return Access("read" if verb == "read" else "write", at, len(content), len(content), content[:first], digest)


def to(before: int, after: int) -> list[Access]:
    """device_state is changed properly: read, then written."""
    return [read(DEVICE_STATE, before), write(DEVICE_STATE, after)]


def pending(value: int) -> Access:
    """pending_bytes was read."""
    return read(PENDING_BYTES, value)


def offset(value: int = BASE) -> Access:
    """data_offset was read."""
    return read(DATA_OFFSET, value)


def size(value: int) -> Access:
    """data_size was read."""
    return read(DATA_SIZE, value)


def got(content: bytes) -> list[Access]:
    """One buffer is read properly, without the read of pending_bytes."""
    return [offset(), size(len(content)), moved("read", content)]


def gave(content: bytes) -> list[Access]:
    """One buffer is written properly."""
    return [offset(), moved("write", content), write(DATA_SIZE, len(content))]


def saved(*buffers: bytes) -> list[Access]:
    """A running device is suspended and its state saved."""
    steps = [access for content in buffers for access in (pending(9), *got(content))]
    return [OPEN, *to(RUNNING, STOP_AND_COPY), *steps, pending(0), *to(STOP_AND_COPY, STOP)]


def resumed(*buffers: bytes) -> list[Access]:
    """A device is reset, given a state, and set running."""
    steps = [access for content in buffers for access in gave(content)]
    return [RESET, *to(RUNNING, RESUMING), *steps, *to(RESUMING, RUNNING)]


@dataclass(frozen=True)
class Judged:
    """The verdict of a judge."""

    judge: Judge
    offences: list[Offence]

    @property
    def clauses(self) -> list[str]:
        """The clauses broken, one for each offence."""
        return [offence.clause for offence in self.offences]

    def __getitem__(self, clause: str) -> tuple[int, int]:
        """The number of times that a clause was kept, and broken."""
        return self.judge.kept[clause], self.judge.broken[clause]


def judged(*parts: Access | Iterable[Access], source: History | None = None) -> Judged:
    """The verdict on a client that did these accesses, numbered from 1."""
    accesses: list[Access] = []
    for part in parts:
        accesses += [part] if isinstance(part, Access) else part
    judge = Judge(source)
    offences: list[Offence] = []
    for number, access in enumerate(accesses, 1):
        offences += judge.take(access._replace(number=number))
    offences += judge.end()
    found = Counter(offence.clause for offence in offences)
    assert found == +Counter(judge.broken)
    assert min(judge.kept.values()) >= 0
    return Judged(judge, offences)
