# SPDX-License-Identifier: GPL-2.0-only
"""What the interface asks of the user program, judged on the accesses that it made to the migration region."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from ..uapi.migration_v1 import VFIO_DEVICE_STATE_MASK, state_is_error
from .states_v1 import name


class Access(NamedTuple):
    """One access of the client. ``register`` is empty for a reset and for data."""

    verb: Literal["read", "write", "reset"]
    register: str
    value: int
    #: Whether the driver carried it out whole.
    ok: bool


class Offence(NamedTuple):
    """A clause that the client broke, at the access with this number."""

    clause: str
    access: int
    text: str


def judge(accesses: Iterable[Access]) -> Iterator[Offence]:
    """Offences against DS-04, DS-07 and DS-15 in the order in which they were committed.

    - DS-15: device_state is read before each write of it, and bits 3-31 are written as they were read.
    - DS-04: after a failed write device_state is read before anything else is done to the region.
    - DS-07: once it read the error state, a reset comes before any write of device_state.
    """
    known: int | None = None
    failed = error = False
    for index, access in enumerate(accesses):
        if access.verb == "reset":
            known, failed, error = None, False, False if access.ok else error
            continue
        state = access.register == "device_state"
        if state and access.verb == "read":
            failed = False
            if access.ok:
                known, error = access.value, state_is_error(access.value)
            continue
        if failed:
            failed = False
            yield Offence("DS-04", index, "device_state was not read after the write of it that failed")
        if not state:
            continue
        if error:
            yield Offence("DS-07", index, f"{name(access.value)} was written in the error state, before a reset")
        if known is None:
            yield Offence("DS-15", index, "device_state was written without having been read before")
        elif (access.value ^ known) & ~VFIO_DEVICE_STATE_MASK:
            yield Offence(
                "DS-15",
                index,
                f"reserved bits were written as 0x{access.value & ~7:x}, read as 0x{known & ~7:x}",
            )
        known, failed = None, not access.ok
