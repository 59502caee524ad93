# SPDX-License-Identifier: GPL-2.0-only
"""States of version 1 that are kept: saved in full once, and restored on a device later, perhaps by another driver."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..common.words import counted
from ..device import DeviceError, StepFailed, Stream
from ..device.errors import errno_name
from ..run.checks import NotApplicable, Silent
from ..run.keeping import Fate, Given, Keeper, Kept, Taken
from ..transport import PeerGone, ProtocolViolation, TransportError
from ..uapi.migration_v1 import DeviceState
from .flows import show
from .migration import Migration
from .region import MigrationRegion
from .states import name

PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY
STOP, RESUMING, RUNNING = DeviceState.STOP, DeviceState.RESUMING, DeviceState.RUNNING


class StateKeeper(Keeper):
    """Moves states by exactly the steps of the specification (kabi v23, lines 196-237)."""

    def __init__(self, migration: Migration) -> None:
        self._migration = migration
        self._profile = migration.session.profile

    # -- saving ---------------------------------------------------------------------------------------------------

    def take(self, *, live: bool) -> Taken:
        """Running, pre-copy if ``live``, stop-and-copy, stop; each read to its end."""
        with self._begun() as migration:
            shown = show(self._migration.actor, secrets.randbits(64))
            stream, read_in = Stream(), list[str]()
            for state in (PRE_COPY, STOP_AND_COPY) if live else (STOP_AND_COPY,):
                migration.set_state(state)
                self._drain(migration, state, stream)
                read_in += [name(state)] * (len(stream.buffers) - len(read_in))
            migration.set_state(STOP)
            if not stream.buffers:
                raise DeviceError("saving the state", "data in stop-and-copy", "pending_bytes was 0 from the beginning")
            return Taken(stream, read_in, shown)

    def _drain(self, migration: MigrationRegion, state: DeviceState, stream: Stream) -> None:
        limits = self._profile.limits
        if state != PRE_COPY:
            migration.save(stream, within=limits.run, limit="limits.run")
            return
        end = time.monotonic() + limits.test / 6
        patience = limits.call / 10 if self._migration.claims.precopy_data else 0.0
        most = limits.largest_state // 2  # the rest is for what stop-and-copy offers again
        migration.save(stream, 1, lambda total: total >= most or time.monotonic() >= end, patience)

    # -- giving back ----------------------------------------------------------------------------------------------

    def give(self, kept: Kept) -> Given:
        """Running, resuming, running, with each buffer of the size that it had."""
        with self._begun() as migration:
            other = secrets.randbits(64)  # what a reset may have left must not be taken for what was restored
            before = show(self._migration.actor, other)
            taken = 0
            try:
                migration.set_state(RESUMING)
                for taken, size in enumerate(kept.sizes):
                    migration.load_buffer(size, kept.pieces(taken))
                taken += 1
                migration.set_state(RUNNING)
            except DeviceError as error:
                return self._refused(migration, error, taken, kept)
            except (PeerGone, ProtocolViolation) as error:
                return Given(Fate.UNCLEAN, f"at {_at(taken, kept)}: {error.message}", f"at {_at(taken, kept)}, died")
            return self._compared(kept, before)

    def _compared(self, kept: Kept, before: list[int] | None) -> Given:
        """The device reports that it runs with the restored state; check whether it does."""
        try:
            if not self._continues():
                return Given(Fate.UNCLEAN, "it was taken whole, and then the device does not run", "taken, not running")
            if kept.shown is None or before is None:
                why = kept.why if before is not None else "the profile has no stimulus.visible_state"
                return Given(Fate.UNCOMPARED, why, "not compared")
            now = show(self._migration.actor) or []
        except DeviceError as error:
            return Given(Fate.UNCLEAN, f"it was taken whole, and then: {error}", "taken, not usable")
        except (PeerGone, ProtocolViolation) as error:
            return Given(Fate.UNCLEAN, f"it was taken whole, and then: {error.message}", "taken, then died")
        if len(now) != len(kept.shown):
            return Given(Fate.UNCOMPARED, "the profile shows another number of values now", "not compared")
        differing = [number for number, pair in enumerate(zip(now, kept.shown, strict=True)) if pair[0] != pair[1]]
        if not differing:
            return Given(Fate.SAME, f"{counted(len(now), 'value')} of stimulus.visible_state are what was saved", "")
        first = differing[0]
        seen = f"{len(differing)} of {counted(len(now), 'value')} of stimulus.visible_state differ: value {first + 1} "
        return Given(Fate.OTHER, f"{seen}was {kept.shown[first]:#x}, is {now[first]:#x}", "another state")

    def _continues(self) -> bool:
        """Whether the device runs; if that cannot be seen, it is believed."""
        try:
            return self._migration.actor.counter().continues()
        except (NotApplicable, Silent):
            return True

    def _refused(self, migration: MigrationRegion, error: DeviceError, taken: int, kept: Kept) -> Given:
        """Which step was refused, how, and the state of the device after that; it is clean if a reset recovers it."""
        at, why = _at(taken, kept), errno_name(error.errno) if error.errno else error.seen
        try:
            state = migration.state()
            after = f"device_state reads {name(state)} then"
            self._migration.session.device.try_reset()
            recovered = migration.state()
        except DeviceError as lost:
            return Given(Fate.UNCLEAN, f"at {at}: {error}; then: {lost}", f"at {at} ({why})")
        except (PeerGone, ProtocolViolation) as lost:
            return Given(Fate.UNCLEAN, f"at {at}: {error}; then: {lost.message}", f"at {at} ({why}), then died")
        if isinstance(error, StepFailed) and error.step == "place" and taken < len(kept.sizes):
            size = kept.sizes[taken]
            at += f", which has {counted(size, 'byte')}: the data section of this device has no room for it"
        expected = f"{error.what}: {error.seen}"
        if recovered not in (RUNNING, self._migration.opened_in):
            return Given(
                Fate.UNCLEAN,
                f"at {at}: {expected}; {after}, and {name(recovered)} after a reset",
                f"at {_at(taken, kept)} ({why}), a reset does not help",
            )
        if not error.errno and not (isinstance(error, StepFailed) and error.step == "place"):
            # Something was taken, in part or to lead elsewhere.
            return Given(Fate.UNCLEAN, f"at {at}: {expected}; {after}; a reset helps", f"at {_at(taken, kept)}")
        return Given(
            Fate.REFUSED,
            f"at {at}: {expected}; {after}; the device recovers by a reset",
            f"at {_at(taken, kept)} ({why}), recovers",
        )

    @contextmanager
    def _begun(self) -> Iterator[MigrationRegion]:
        """The region of a device after a reset; it is reset again when the block ends, in any case."""
        migration = self._migration.begin()
        session = self._migration.session
        try:
            yield migration
        finally:
            if not session.out_of_reach and session.recovery.resettable:
                try:
                    session.device.try_reset()
                except (TransportError, DeviceError) as error:  # the outcome for the state is known nevertheless
                    session.lost = True
                    what = error.message if isinstance(error, TransportError) else error
                    session.note(f"the reset after a state was moved: {what}")


def _at(taken: int, kept: Kept) -> str:
    """The place in the state after ``taken`` buffers."""
    return f"buffer {taken + 1} of {len(kept.sizes)}" if taken < len(kept.sizes) else "the change to running"
