# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF012 (what a class declares is never changed)
"""Opening, reset, closing, and the death of a server."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from typing import ClassVar, NoReturn

from device import (
    DRAWN,
    ENABLE,
    ERROR,
    PRE_COPY,
    RESUMING,
    RUNNING,
    STOP,
    STOP_AND_COPY,
)
from style import SELF_WRITES, UNDRAWN, Style, abort, hang, leave, segfault
from wire import Gone, Refusal

ALL = {"*"}
#: QEMU begins with a reset and a write of RUNNING; it fails if neither leads there, whatever the specification says.
QEMU_STARTS = {"qemu.save.begins-in-running", "qemu.error.next-guest-runs"}
#: A device that allows only the specification's arrows leaves stop only by a reset.
RESET_RULES = {"v1.reset.accepted", "v1.reset.recovers-error", "v1.reset.ends-running"}
#: These have a case that begins with a reset.
AFTER_RESET = {"v1.transition.running-to-resuming", "v1.sessions.*"}
#: These end with a reset, which must succeed.
ENDS_IN_RESET = {"v1.undrawn.safe", "v1.resuming.bad-data-safe", "v1.reset.recovers-fault"}
QEMU_UNDRAWN = {
    "qemu.paused.migrates",
    "qemu.cancel.returns-to-running",
    "qemu.source.runs-again",
}
QEMU_SELF_WRITES = {
    "qemu.live.completes",
    "qemu.complete.self-write-harmless",
    "qemu.snapshot.begins",
    "qemu.save.begins-in-running",
    "qemu.error.next-guest-runs",
}


class Plain(Style):
    """The good device, unchanged."""

    good = True


class Alone(Style):
    """The good device without a second one: its state is restored on itself."""

    good = True
    profile = {"device.second": None}


# -- the default state --------------------------------------------------------------------------------------------


class OpensInStop(Style):
    """In stop at every open; a reset leads to running."""

    breaks = {"v1.open.running"}
    may = QEMU_STARTS
    opens_in = STOP


class OpensInStopAlone(OpensInStop):
    """In stop at every open; a reset leads to running; there is no second device."""

    profile = {"device.second": None}


class StopAtOpenAndReset(Style):
    """In stop at every open and after a reset; running can be written there."""

    breaks = {"v1.open.running"}
    # A reset leads to its default, which is stop: a judge may count one fault or two.
    may = QEMU_STARTS | {"v1.reset.ends-running"}
    unjudged = {"v1.reset.*"} | AFTER_RESET | ENDS_IN_RESET
    opens_in = resets_to = STOP


class StopAtOpenResetKeeps(Style):
    """In stop at every open; a reset keeps the state, except that it leaves error for stop."""

    breaks = {"v1.open.running"}
    may = QEMU_STARTS | {"v1.reset.ends-running"}
    unjudged = {"v1.reset.*"} | AFTER_RESET | ENDS_IN_RESET
    opens_in = STOP

    def on_reset(self, body: bytes) -> bytes:
        self.power_on()
        self.enter(STOP if self.state == ERROR else self.state)
        return b""


class StopAtOpenNoReset(Style):
    """In stop at every open, and no reset at all, as in four of five real drivers."""

    breaks = {"v1.open.running", "v1.reset.accepted"}
    may = QEMU_STARTS
    unjudged = RESET_RULES | AFTER_RESET | ENDS_IN_RESET
    opens_in = STOP
    has_reset = False


class OpensInResuming(Style):
    """In resuming at every open; a reset leads to running."""

    breaks = {"v1.open.running"}
    may = QEMU_STARTS
    opens_in = RESUMING


class OpensInPreCopy(Style):
    """In pre-copy at every open; a reset leads to running."""

    breaks = {"v1.open.running"}
    may = QEMU_STARTS
    opens_in = PRE_COPY


# -- reset --------------------------------------------------------------------------------------------------------


class NoReset(Style):
    """No reset: it is not announced, and it is refused."""

    breaks = {"v1.reset.accepted"}
    may = {"qemu.error.next-guest-runs"}  # its first step is a reset
    unjudged = RESET_RULES | AFTER_RESET | ENDS_IN_RESET
    has_reset = False


class NoResetFewArrows(NoReset):
    """No reset, and only the specification's transitions: only a close leaves stop."""

    may = QEMU_UNDRAWN | QEMU_SELF_WRITES | {"qemu.error.next-guest-runs"}
    profile = {"claims.transitions": []}

    def allows(self, old: int, new: int) -> bool:
        return (old, new) in DRAWN


class ResetRefused(Style):
    """A reset is announced, and always refused."""

    breaks = {"v1.reset.accepted"}
    may = {"qemu.error.next-guest-runs"}
    unjudged = RESET_RULES | AFTER_RESET | ENDS_IN_RESET

    def on_reset(self, body: bytes) -> bytes:
        raise Refusal(errno.EIO)


class ResetRefusedInStop(Style):
    """A reset is refused in stop."""

    breaks = {"v1.reset.accepted"}
    unjudged = {"v1.reset.ends-running"} | AFTER_RESET | ENDS_IN_RESET
    refused_in: tuple[int, ...] = (STOP,)

    def on_reset(self, body: bytes) -> bytes:
        if self.state in self.refused_in:
            raise Refusal(errno.EBUSY)
        return super().on_reset(body)


class ResetRefusedInResuming(ResetRefusedInStop):
    """A reset is refused in resuming."""

    refused_in = (RESUMING,)


class ResetRefusedWhileSaving(ResetRefusedInStop):
    """A reset is refused in pre-copy and in stop-and-copy."""

    # The set-up of recovers-error resets in stop-and-copy.
    unjudged = {"v1.reset.ends-running", "v1.reset.recovers-error"} | AFTER_RESET | ENDS_IN_RESET
    refused_in = (PRE_COPY, STOP_AND_COPY)


class ResetRefusedInError(ResetRefusedInStop):
    """A reset is refused in the error state, where the specification requires it."""

    breaks = {"v1.reset.recovers-error"}
    may = {"qemu.error.next-guest-runs"}  # a close leaves the error state, so QEMU's reset is in running
    unjudged = set()
    refused_in = (ERROR,)


class ResetKeepsState(Style):
    """A reset succeeds, clears the registers and keeps device_state, except that it leaves error for running."""

    good = True  # A-07 is a should, and disputed

    def on_reset(self, body: bytes) -> bytes:
        self.power_on()
        self.enter(RUNNING if self.state == ERROR else self.state)
        return b""


class ResetKeepsStateFewArrows(ResetKeepsState):
    """A reset keeps device_state, and there are only the specification's transitions: only a close leaves stop."""

    may = QEMU_UNDRAWN | QEMU_SELF_WRITES
    profile = {"claims.transitions": []}

    def allows(self, old: int, new: int) -> bool:
        return (old, new) in DRAWN


class ResetToStop(Style):
    """A reset leaves the device in stop; it opens in running."""

    breaks = {"v1.reset.ends-running"}
    may = {"qemu.error.next-guest-runs", "v1.reset.recovers-error"}  # QEMU resets before it starts a guest
    unjudged = {"v1.reset.recovers-error"} | AFTER_RESET | ENDS_IN_RESET
    resets_to = STOP


# -- closing ------------------------------------------------------------------------------------------------------


class Keeper(Style):
    def closed(self) -> None:
        before = self.state
        super().closed()
        self.state = before

    def opened(self) -> None:
        self.enter(self.state)


class KeepsOverClose(Keeper):
    """The state survives a close; a reset leads to running."""

    breaks = {"v1.close.needs-no-stop"}
    may = {"v1.open.running"}  # the next user's first read shows the same fault


class KeepsOverCloseNoReset(Keeper):
    """The state survives a close, even the error state, and there is no reset."""

    breaks = {"v1.close.needs-no-stop", "v1.reset.accepted"}
    may = {"v1.open.running", "qemu.error.next-guest-runs"}
    unjudged = RESET_RULES | AFTER_RESET | ENDS_IN_RESET
    has_reset = False


class NeedsStopBeforeClose(Style):
    """After a close while running, it is in stop for the next user, as it was not shut down."""

    breaks = {"v1.close.needs-no-stop"}
    may = {"v1.open.running"} | QEMU_STARTS
    unjudged = {"v1.sessions.*"}  # some of them close the device
    opens_in = RUNNING

    def closed(self) -> None:
        clean = self.state == STOP
        super().closed()
        self.opens_in = RUNNING if clean else STOP


# -- the end of the process ---------------------------------------------------------------------------------------


class LeavesWithClient(Style):
    """The server ends with status 0 after its client has gone."""

    good = True

    def closed(self) -> None:
        leave(0)


class LeavesWithClientNoReset(LeavesWithClient):
    """The server ends with its client, and there is no reset: each return to running needs a new server."""

    good = False
    breaks = {"v1.reset.accepted"}
    may = {"qemu.error.next-guest-runs"}
    unjudged = RESET_RULES | AFTER_RESET | ENDS_IN_RESET
    has_reset = False


class LeavesWithClientOpensInStop(LeavesWithClient):
    """The server ends with its client, and is in stop at every open."""

    good = False
    breaks = {"v1.open.running"}
    may = QEMU_STARTS
    opens_in = STOP


#: Judged after the device was closed and opened again.
LEFT_BEFORE = {"v1.sessions.complete-after-two"}


class SegfaultsAtClose(Style):
    """The server dies by SIGSEGV after its client has gone."""

    dies = True
    unjudged = LEFT_BEFORE

    def closed(self) -> None:
        segfault()


class AbortsAtClose(Style):
    """The server dies by SIGABRT after its client has gone."""

    dies = True
    unjudged = LEFT_BEFORE

    def closed(self) -> None:
        abort()


class Exits3AtClose(Style):
    """The server ends with status 3 after its client has gone."""

    dies = True
    unjudged = LEFT_BEFORE

    def closed(self) -> None:
        leave(3)


class Exits3BetweenConnections(Style):
    """The server ends with status 3 a moment after its client has gone."""

    dies = True
    unjudged = LEFT_BEFORE
    delay = 0.05
    status = 3

    def closed(self) -> None:
        super().closed()
        threading.Timer(self.delay, leave, [self.status]).start()
        # No new client is accepted: otherwise another case would meet the end.
        self.listener.close()
        time.sleep(10)


class Exits0WhileOpen(Style):
    """The server ends with status 0 in the middle of a connection, once."""

    dies: ClassVar[bool | None] = True
    exit = 1
    may = ALL  # the case that meets it fails
    calls_before = 300

    def on_region_read(self, body: bytes) -> bytes:
        if self.calls >= self.calls_before and self.once():
            self.end_it()
        return super().on_region_read(body)

    def end_it(self) -> NoReturn:
        leave(0)


class SegfaultsOnce(Exits0WhileOpen):
    """The server dies by SIGSEGV at its 400th access, once."""

    calls_before = 400

    def end_it(self) -> NoReturn:
        segfault()


class SegfaultsAtFirstAccess(Exits0WhileOpen):
    """The server dies by SIGSEGV at its first access, once."""

    calls_before = 0

    def end_it(self) -> NoReturn:
        segfault()


class Exits3Once(Exits0WhileOpen):
    """The server ends with status 3 at its 500th access, once."""

    calls_before = 500

    def end_it(self) -> NoReturn:
        leave(3)


class KilledOnce(Exits0WhileOpen):
    """The server is killed by SIGKILL, not by the suite, once."""

    calls_before = 350

    def end_it(self) -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class HangsUpThenDies(Exits0WhileOpen):
    """The connection ends at once, the process a moment later with status 3, once."""

    calls_before = 250

    def end_it(self) -> NoReturn:
        self.client.close()
        time.sleep(0.3)
        leave(3)


class DropsConnectionOnce(Exits0WhileOpen):
    """The server closes the connection in the middle, once, and serves the next client."""

    dies = None

    def end_it(self) -> NoReturn:
        raise Gone


class Exits1OnSigterm(Style):
    """The server ends with status 1 on SIGTERM."""

    good = True  # the suite asked for it

    def opened(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: leave(1))
        super().opened()


class IgnoresSigterm(Style):
    """The server ignores SIGTERM."""

    good = True  # no rule is about it, and the suite has other means

    def opened(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        super().opened()


class LeavesAChild(Style):
    """The server has a child that outlives it for a while and holds its descriptors."""

    good = True
    begun = False

    def opened(self) -> None:
        super().opened()
        if not self.begun and not os.fork():
            time.sleep(20)
            leave(0)
        self.begun = True


class DiesOnState(Style):
    value = 5

    def judge_write(self, value: int) -> None:
        if value & 7 == self.value:
            segfault()


class DiesOn5(DiesOnState):
    """The server dies when 101b is written."""

    dies = True
    breaks = {"v1.state.invalid-never-entered"}
    # Each of these writes the value itself.
    may = {"v1.state.failure-*", "v1.state.usable-after-refusal"}
    unjudged = {"v1.state.failure-*", "v1.state.usable-after-refusal"}


class DiesOn7(DiesOn5):
    """The server dies when 111b is written."""

    value = 7


class DiesOn6(DiesOn5):
    """The server dies when 110b is written."""

    value = 6
    breaks = {"v1.state.error-never-accepted"}


class DiesOnReservedBits(Style):
    """The server dies when bits 3 to 31 are written."""

    dies = True
    breaks = {"v1.state.reserved-bits"}

    def judge_write(self, value: int) -> None:
        if value >> 3:
            abort()


class DiesOnStopUndrained(Style):
    """The server dies when stop is written in stop-and-copy while data is left."""

    dies = True
    breaks = {"v1.saving.left-at-any-point"}
    # These may do the same with data left.
    may = {"v1.transition.stop-and-copy-to-stop", "v1.transition.live-migration", "v1.undrawn.*"}

    def leave(self, new: int) -> None:
        if self.state == STOP_AND_COPY and new == STOP and self.plan:
            segfault()


class DiesOnPreCopyUndrained(Style):
    """The server dies when stop-and-copy is written in pre-copy while data is left."""

    dies = True
    breaks = {"v1.saving.left-at-any-point"}
    may = {"v1.transition.live-migration", "qemu.live.completes"}  # QEMU does this
    unjudged = {"qemu.*", "v1.sessions.*"}

    def leave(self, new: int) -> None:
        if self.state == PRE_COPY and new == STOP_AND_COPY and self.plan:
            segfault()


class DiesOnUndrawn(Style):
    """The server dies on a transition that is not drawn."""

    dies = True
    breaks = {"v1.undrawn.safe"}
    may = QEMU_UNDRAWN
    unjudged = QEMU_UNDRAWN | {"v1.sessions.*"}
    profile = {"claims.transitions": SELF_WRITES}

    def leave(self, new: int) -> None:
        if new != self.state and (self.state, new) not in DRAWN:
            segfault()


class DiesOnReset(Style):
    """The server dies when it is reset."""

    dies = True
    breaks = {"v1.reset.accepted"}
    may = RESET_RULES | QEMU_STARTS
    unjudged = RESET_RULES | AFTER_RESET | ENDS_IN_RESET

    def on_reset(self, body: bytes) -> bytes:
        segfault()


class DiesOnResetInError(Style):
    """The server dies when it is reset in the error state."""

    dies = True
    breaks = {"v1.reset.recovers-error"}

    def on_reset(self, body: bytes) -> bytes:
        if self.state == ERROR:
            segfault()
        return super().on_reset(body)


class DiesOnBadData(Style):
    """The server dies when it gets a buffer that it cannot read."""

    dies = True
    breaks = {"v1.resuming.bad-data-safe"}
    # A buffer in two pieces is such a one.
    may = {"qemu.load.cut-buffer-safe"}

    def take(self, size: int) -> None:
        try:
            super().take(size)
        except Exception:
            segfault()


# -- hangs --------------------------------------------------------------------------------------------------------


class HangsOnce(Style):
    """One write of device_state is never answered; a new server answers."""

    exit = 3
    may = ALL  # the case that meets it
    profile = {"limits.call": "500ms"}
    value, countdown = STOP_AND_COPY, 6

    def judge_write(self, value: int) -> None:
        if value == self.value:
            self.countdown -= 1
            if not self.countdown and self.once():
                hang()


class HangsOnceInResuming(HangsOnce):
    """The first write of resuming is never answered; a new server answers."""

    value, countdown = RESUMING, 1


class HangsOnceAndLives(HangsOnce):
    """One write of device_state is not answered until the client has gone; the same process serves the next."""

    def judge_write(self, value: int) -> None:
        if value == self.value:
            self.countdown -= 1
            if not self.countdown and self.once():
                while self.client.recv(4096):
                    pass
                raise Gone


class HangsOnceInVersion(Style):
    """The third connection is accepted, and its VERSION never answered; a new server answers."""

    exit = 3
    may = ALL  # the case that meets it
    profile = {"limits.call": "500ms"}
    connections = 0

    def on_version(self, body: bytes) -> bytes:
        self.connections += 1
        if self.connections == 3 and self.once():
            hang()
        return super().on_version(body)


class SecondHangsOnce(Style):
    """The second device never answers the first write of resuming; a new server answers."""

    exit = 3
    may = ALL  # the case that meets it
    profile = {"limits.call": "500ms"}
    place = 0

    def opened(self) -> None:
        super().opened()
        while not self.place or not self.mine(self.place):
            self.place += 1

    def mine(self, place: int) -> bool:
        """Whether this process is number ``place``."""
        path = os.path.join(self.scratch, f"process-{place}")
        try:
            with open(path, "x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            with open(path) as file:
                return file.read() == str(os.getpid())
        return True

    def judge_write(self, value: int) -> None:
        if self.place == 2 and value == RESUMING and self.once():
            self.end_it()

    def end_it(self) -> None:
        """Fail."""
        hang()


class SecondDiesOnce(SecondHangsOnce):
    """The second device dies at the first write of resuming; a new server answers."""

    exit = 1
    dies = True
    profile: ClassVar[dict[str, object]] = {}

    def end_it(self) -> None:
        segfault()


class HangsOnceInReset(Style):
    """The third reset is never answered; a new server answers."""

    exit = 3
    may = ALL  # the case that meets it
    profile = {"limits.call": "500ms"}
    countdown = 3

    def on_reset(self, body: bytes) -> bytes:
        self.countdown -= 1
        if not self.countdown and self.once():
            hang()
        return super().on_reset(body)


class HangsInEverySave(Style):
    """data_offset is never answered while a state is saved."""

    exit = 3
    breaks = {"v1.saving.pending-means-data"}
    may = unjudged = {
        "v1.saving.*",
        "v1.layout.*",
        "v1.resuming.*",
        "v1.error.surfaces",
        "v1.data-offset.*",
        "v1.sessions.*",
        "qemu.*",
    } | {
        "v1.header.register-places",
        "v1.pre-copy.*",
        "v1.stop-and-copy.*",
        "v1.transition.*",
        "v1.reset.*",
        "v1.pending.read-only",
        "v1.state.never-changes-by-itself",
        # These may watch a transition during a whole save.
        "v1.state.reads-what-was-written",
        "v1.state.write-is-complete",
    }
    judged = {"v1.state.five-states", "v1.reserved.*", "v1.width.*", "v1.open.running", "v1.undrawn.safe", "v1.close.*"}
    profile = {"limits.call": "500ms"}

    def read_offset(self) -> int:
        if self.saving():
            hang()
        return super().read_offset()


class HangsOnInvalid(Style):
    """A write of 101b is never answered."""

    exit = 3
    breaks = {"v1.state.invalid-never-entered"}
    may = {"v1.state.failure-*", "v1.state.usable-after-refusal"}
    unjudged = breaks | may
    profile = {"limits.call": "500ms"}

    def judge_write(self, value: int) -> None:
        if value & 7 == 5:
            hang()


# -- setup after open and reset -----------------------------------------------------------------------------------

ENABLING = [{"write": {"region": 0, "offset": ENABLE, "width": 4, "value": 1}}]


class EnableAfterOpen(Style):
    """Running is refused until a register is written, once for each client; a reset keeps the register."""

    good = True
    profile = {"setup.after_open": ENABLING}
    needs = "setup"

    def allows(self, old: int, new: int) -> bool:
        return new != RUNNING or bool(self.registers[ENABLE])

    def on_reset(self, body: bytes) -> bytes:
        before = self.registers[ENABLE]
        super().on_reset(body)
        self.registers[ENABLE] = before
        return b""


class EnableAfterReset(EnableAfterOpen):
    """Running is refused until a register is written, after each open and each reset."""

    profile = {"setup.after_open": ENABLING, "setup.after_reset": ENABLING}

    def on_reset(self, body: bytes) -> bytes:
        super().on_reset(body)
        self.registers[ENABLE] = 0
        return b""


class EnableAndStart(EnableAfterReset):
    """In stop after each open and reset, and running is refused until a register is written."""

    good = False
    breaks = {"v1.open.running"}
    may = QEMU_STARTS | {"v1.reset.ends-running"}
    unjudged = {"v1.reset.*"} | AFTER_RESET | ENDS_IN_RESET
    opens_in = resets_to = STOP


class SetupFails(Style):
    """The good device; the profile's steps after an open wait for a value that never comes."""

    good = True
    unjudged = ALL
    exit = 2
    profile = {
        "setup.after_open": [
            {"wait": {"region": 0, "offset": ENABLE, "width": 4, "mask": 1, "equals": 1, "within": "50ms"}}
        ]
    }
    needs = "setup"


class SetupRefused(SetupFails):
    """The good device; the profile's steps after an open are refused."""

    profile = {"setup.after_open": [{"write": {"region": 0, "offset": 0x800, "width": 4, "value": 1}}]}


class MappedBeforeSaving(Style):
    """Saving is refused until the client has mapped the section, which the server sees in /proc."""

    good = True
    profile = {"setup.after_open": [{"map": "data_section"}]}
    needs = "setup"

    def allows(self, old: int, new: int) -> bool:
        return new not in (PRE_COPY, STOP_AND_COPY) or self.client_maps()

    def client_maps(self) -> bool:
        """Whether the section's file is among the client's mappings."""
        import socket
        import struct

        process, _, _ = struct.unpack("3i", self.client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        with open(f"/proc/{process}/maps") as maps:
            return "foreign-section" in maps.read()


# -- transitions --------------------------------------------------------------------------------------------------


class RefusesUndrawn(Style):
    """Only the specification's transitions, and no self-writes."""

    good = True
    may = QEMU_UNDRAWN | QEMU_SELF_WRITES  # QEMU needs them; the specification does not require them
    profile = {"claims.transitions": []}

    def allows(self, old: int, new: int) -> bool:
        return (old, new) in DRAWN


class RefusesSelfWrites(Style):
    """All transitions, but no self-writes."""

    good = True
    may = QEMU_SELF_WRITES | {"qemu.paused.migrates"}  # QEMU writes stop-and-copy twice, also from stop
    profile = {"claims.transitions": UNDRAWN}

    def allows(self, old: int, new: int) -> bool:
        return old != new


class RefusesUndrawnTakesSelfWrites(Style):
    """Only the specification's transitions; self-writes are accepted."""

    good = True
    may = QEMU_UNDRAWN
    profile = {"claims.transitions": SELF_WRITES}

    def allows(self, old: int, new: int) -> bool:
        return old == new or (old, new) in DRAWN


class RefusedLeadsToError(Style):
    """Every refused write of device_state leads to the error state."""

    good = True  # DS-06
    may = QEMU_UNDRAWN | QEMU_SELF_WRITES
    profile = {"claims.transitions": []}

    def write_state(self, value: int) -> None:
        try:
            super().write_state(value)
        except Refusal:
            self.enter(ERROR)
            raise

    def allows(self, old: int, new: int) -> bool:
        return (old, new) in DRAWN


class ReservedBitsRefused(Style):
    """A write of device_state with any of bits 3 to 31 is refused."""

    good = True

    def judge_write(self, value: int) -> None:
        if value >> 3:
            raise Refusal


class HighBitsRead(Style):
    """device_state reads with bits set above the low three, which can be written back."""

    good = True  # they are reserved for the future: a user masks and preserves them

    def read_header(self, offset: int) -> int:
        return super().read_header(offset) | (0x5A0 if offset == 0 else 0)


class RefusesUndrained(Style):
    """A saving state cannot be left before all of its data is read."""

    breaks = {"v1.saving.left-at-any-point"}
    may = {"qemu.*", "v1.transition.live-migration"}  # QEMU leaves pre-copy at any time
    unjudged = {"v1.sessions.*"}

    def leave(self, new: int) -> None:
        if self.state in (PRE_COPY, STOP_AND_COPY) and self.plan and new in (STOP, STOP_AND_COPY):
            raise Refusal(errno.EBUSY)


class DiesAtCloseWhileSaving(Style):
    """The server dies if its client leaves while a state is being saved."""

    dies = True
    breaks = {"v1.close.needs-no-stop"}
    unjudged = LEFT_BEFORE

    def closed(self) -> None:
        if self.state in (PRE_COPY, STOP_AND_COPY):
            segfault()
        super().closed()


class DiesOnSelfWrite(Style):
    """The server dies when the present state is written."""

    dies = True
    breaks = {"v1.self-write.safe"}
    may = QEMU_SELF_WRITES | QEMU_UNDRAWN
    unjudged = {"v1.undrawn.as-claimed"} | QEMU_SELF_WRITES | QEMU_UNDRAWN

    def leave(self, new: int) -> None:
        if new == self.state:
            segfault()


class OpensInError(Style):
    """In the error state at every open; a reset leads to running."""

    breaks = {"v1.open.running"}
    may = QEMU_STARTS
    unjudged = {"v1.sessions.*"}  # some of them close the device
    opens_in = ERROR


class ResetKeepsError(Style):
    """A reset keeps the error state; otherwise, it leads to running."""

    breaks = {"v1.reset.recovers-error"}
    may = {"qemu.error.next-guest-runs"}

    def on_reset(self, body: bytes) -> bytes:
        return b"" if self.state == ERROR else super().on_reset(body)
