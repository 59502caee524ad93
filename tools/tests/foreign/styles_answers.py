# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF012 (what a class declares is never changed)
"""How commands are answered: information, errors, sizes, the reserved register."""

from __future__ import annotations

import errno
import time

from device import MIGRATION, PRE_COPY, RESERVED, RESUMING, RUNNING, SIZE, STATE, STOP
from style import Style
from wire import (
    ACCESS,
    DEVICE_RESET,
    DMA_MAP,
    REGION_WRITE,
    Gone,
    Refusal,
)

# -- information --------------------------------------------------------------------------------------------------


class RegionInfoInRunningOnly(Style):
    """The regions' information is refused outside running."""

    good = True

    def on_region_info(self, body: bytes) -> bytes:
        if self.state != RUNNING:
            raise Refusal(errno.EBUSY)
        return super().on_region_info(body)


class DeviceInfoOnce(Style):
    """The device's information is given once in a connection, and then refused."""

    good = True
    asked = False

    def opened(self) -> None:
        super().opened()
        self.asked = False

    def on_device_info(self, body: bytes) -> bytes:
        if self.asked:
            raise Refusal(errno.EBUSY)
        self.asked = True
        return super().on_device_info(body)


class InfoAtOpenOnly(Style):
    """All information is refused after the first write of device_state in a connection."""

    good = True
    working = False

    def opened(self) -> None:
        super().opened()
        self.working = False

    def judge_write(self, value: int) -> None:
        self.working = True

    def on_device_info(self, body: bytes) -> bytes:
        if self.working:
            raise Refusal(errno.EBUSY)
        return super().on_device_info(body)

    def on_region_info(self, body: bytes) -> bytes:
        if self.working:
            raise Refusal(errno.EBUSY)
        return super().on_region_info(body)


class NoInfoAfterData(Style):
    """The regions' information is refused after the first read of data in a connection."""

    good = True
    read = False

    def opened(self) -> None:
        super().opened()
        self.read = False

    def read_offset(self) -> int:
        self.read = True
        return super().read_offset()

    def on_region_info(self, body: bytes) -> bytes:
        if self.read:
            raise Refusal(errno.EAGAIN)
        return super().on_region_info(body)


class StrictArgsz(Style):
    """An argsz above the agreed size of a message is refused."""

    good = True

    def on_region_info(self, body: bytes) -> bytes:
        if int.from_bytes(body[:4], "little") > 1 << 20:
            raise Refusal
        return super().on_region_info(body)

    def on_device_info(self, body: bytes) -> bytes:
        if int.from_bytes(body[:4], "little") > 1 << 20:
            raise Refusal
        return super().on_device_info(body)


# -- the reserved register ----------------------------------------------------------------------------------------


class ReservedReadRefused(Style):
    """Reading the reserved register is refused."""

    breaks = {"v1.reserved.reads-zero"}
    unjudged = {"v1.reserved.ignores-writes"}  # the value after a write cannot be read

    def read_reserved(self) -> int:
        raise Refusal


class ReservedWriteRefused(Style):
    """Writing the reserved register is refused."""

    breaks = {"v1.reserved.ignores-writes"}

    def write_reserved(self, value: int) -> None:
        raise Refusal


class ReservedBothRefused(Style):
    """Reading and writing the reserved register are refused."""

    breaks = {"v1.reserved.ignores-writes", "v1.reserved.reads-zero"}

    def read_reserved(self) -> int:
        raise Refusal

    def write_reserved(self, value: int) -> None:
        raise Refusal


class ReservedGarbageInStop(Style):
    """The reserved register reads garbage in stop."""

    breaks = {"v1.reserved.reads-zero"}

    def read_reserved(self) -> int:
        return 0xBAD if self.state == STOP else 0


class ReservedGarbageAfterPreCopy(Style):
    """After pre-copy, the reserved register reads garbage in running, even after a reset and for a new client."""

    breaks = {"v1.reserved.reads-zero"}
    spoilt = False

    def judge_write(self, value: int) -> None:
        self.spoilt |= value == PRE_COPY

    def read_reserved(self) -> int:
        return 0xBAD if self.spoilt and self.state == RUNNING else 0


class ReservedRefusedInResuming(Style):
    """Reading the reserved register is refused in resuming."""

    breaks = {"v1.reserved.reads-zero"}
    unjudged = {"v1.reserved.ignores-writes"}

    def read_reserved(self) -> int:
        if self.state == RESUMING:
            raise Refusal
        return 0


class ReservedWithoutPayload(Style):
    """Reading the reserved register succeeds without the four bytes."""

    breaks = {"v1.reserved.reads-zero"}
    # Each of these also reads it.
    unjudged = {"v1.reserved.ignores-writes", "v1.state.never-changes-by-itself"}
    register = RESERVED

    def on_region_read(self, body: bytes) -> bytes:
        reply = super().on_region_read(body)
        offset, region, _ = ACCESS.unpack_from(body)
        return reply[: ACCESS.size] if (offset, region) == (self.register, MIGRATION) else reply


class ReservedWriteUncounted(Style):
    """Writing the reserved register succeeds with a count of 0."""

    breaks = {"v1.reserved.ignores-writes"}

    def on_region_write(self, body: bytes) -> bytes:
        reply = super().on_region_write(body)
        reserved = ACCESS.unpack_from(body)[:2] == (RESERVED, MIGRATION)
        return reply[:12] + bytes(4) if reserved else reply


class ReservedWriteWithoutPayload(Style):
    """Writing the reserved register succeeds with a bare header."""

    breaks = {"v1.reserved.ignores-writes"}

    def on_region_write(self, body: bytes) -> bytes:
        reply = super().on_region_write(body)
        return b"" if ACCESS.unpack_from(body)[:2] == (RESERVED, MIGRATION) else reply


class SizeWithoutPayload(ReservedWithoutPayload):
    """Reading data_size succeeds without the eight bytes."""

    register = SIZE
    breaks = {"v1.saving.size-can-be-read"}
    # Nothing can be saved, which each of these rules may report.
    may = unjudged = {"v1.header.register-places", "v1.saving.*", "v1.layout.*", "v1.resuming.*", "v1.pre-copy.*"} | {
        "v1.sessions.*",
        "v1.stop-and-copy.*",
        "v1.transition.*",
        "v1.error.surfaces",
        "v1.reset.*",
        "v1.pending.read-only",
        "v1.data-offset.read-only",
        "v1.state.never-changes-by-itself",
        # These may watch a transition during a whole save.
        "v1.state.reads-what-was-written",
        "v1.state.write-is-complete",
        "v1.client.*",
        "qemu.*",
    }
    judged = {"v1.state.five-states", "v1.reserved.*", "v1.width.*", "v1.open.running", "v1.undrawn.safe", "v1.close.*"}


# -- errors -------------------------------------------------------------------------------------------------------


class ErrorsWithBody(Style):
    """An error reply has a body of the size of a good reply."""

    good = True  # as the library that most servers use

    def refuse(self, number: int, command: int, flags: int, refusal: Refusal) -> None:
        refusal.body = bytes(32)
        super().refuse(number, command, flags, refusal)


class ErrorsWithEcho(Style):
    """An error reply repeats the head of the request."""

    good = True

    def handle(self, number: int, command: int, flags: int, body: bytes, descriptors: list[int]) -> None:
        self.request = body
        super().handle(number, command, flags, body, descriptors)

    def refuse(self, number: int, command: int, flags: int, refusal: Refusal) -> None:
        refusal.body = self.request[: ACCESS.size]
        super().refuse(number, command, flags, refusal)


class ErrorsWithLargeBody(Style):
    """An error reply has a body of 1 MiB."""

    # It is as long as the largest data that both sides agreed on, and a client skips it. No rule judges it.
    good = True

    def refuse(self, number: int, command: int, flags: int, refusal: Refusal) -> None:
        refusal.body = bytes(1 << 20)
        super().refuse(number, command, flags, refusal)


class ErrorsWithOddBody(Style):
    """An error reply has a body of one to seven bytes."""

    good = True
    length = 0

    def refuse(self, number: int, command: int, flags: int, refusal: Refusal) -> None:
        self.length = self.length % 7 + 1
        refusal.body = b"\xff" * self.length
        super().refuse(number, command, flags, refusal)


class StateErrnoZero(Style):
    """A refused write of device_state has the error bit, and errno 0."""

    breaks = {"v1.state.failure-has-errno"}

    def write_state(self, value: int) -> None:
        try:
            super().write_state(value)
        except Refusal as refusal:
            raise Refusal(0) from refusal


class StateErrnoZeroWithBody(StateErrnoZero):
    """A refused write of device_state has errno 0, and a body."""

    def refuse(self, number: int, command: int, flags: int, refusal: Refusal) -> None:
        refusal.body = bytes(16)
        super().refuse(number, command, flags, refusal)


class OtherErrnoZero(Style):
    """Every refusal has errno 0, except that of a write of device_state."""

    good = True

    def handle(self, number: int, command: int, flags: int, body: bytes, descriptors: list[int]) -> None:
        self.is_state = command == REGION_WRITE and ACCESS.unpack_from(body) == (STATE, MIGRATION, 4)
        super().handle(number, command, flags, body, descriptors)

    def refuse(self, number: int, command: int, flags: int, refusal: Refusal) -> None:
        super().refuse(number, command, flags, refusal if self.is_state else Refusal(0))


class StateRefusedSilently(Style):
    """A write of an invalid value to device_state is ignored and reported as a success."""

    breaks = {"v1.state.failure-has-errno"}
    # There is no refusal to judge.
    unjudged = {"v1.state.failure-keeps-state", "v1.state.usable-after-refusal", "v1.client.reads-after-failure"}

    def write_state(self, value: int) -> None:
        if value & 7 in (0b101, 0b110, 0b111):
            return
        super().write_state(value)


class StrangeErrno(Style):
    """Every refusal has errno 4095."""

    good = True  # any errno

    def refuse(self, number: int, command: int, flags: int, refusal: Refusal) -> None:
        super().refuse(number, command, flags, Refusal(4095))


class ThreeByteAccessHangsUp(Style):
    """An access of three bytes to the header ends the connection, without an answer; the server lives."""

    # No error is returned, as the specification requires.
    breaks = {"v1.width.read-native-only", "v1.width.write-native-only"}
    dies = None

    def access(self, body: bytes) -> None:
        """Hang up after such an access."""
        offset, region, count = ACCESS.unpack_from(body)
        if region == MIGRATION and offset < 32 and count == 3:
            raise Gone

    def on_region_read(self, body: bytes) -> bytes:
        self.access(body)
        return super().on_region_read(body)

    def on_region_write(self, body: bytes) -> bytes:
        self.access(body)
        return super().on_region_write(body)


class OddReadsAnswered(Style):
    """Reads of other widths are answered with the register's bytes."""

    breaks = {"v1.width.read-native-only"}
    unjudged = {"v1.saving.continues-after-refusal", "v1.resuming.continues-after-refusal"}

    def on_region_read(self, body: bytes) -> bytes:
        offset, region, count = ACCESS.unpack_from(body)
        if region == MIGRATION and offset < 32 and 0 < count <= 32 - offset and count not in (4, 8):
            return body[: ACCESS.size] + bytes(count)
        return super().on_region_read(body)


# -- replies ------------------------------------------------------------------------------------------------------


class EchoesBodies(Style):
    """Replies that need no body repeat the body of the request."""

    # The protocol gives these replies no body, and a client ignores it. No rule judges it.
    good = True

    def body(self, command: int, request: bytes, reply: bytes) -> bytes:
        return request if command in (DMA_MAP, DEVICE_RESET) else reply


class TailAfterRegionInfo(Style):
    """argsz is larger than the reply."""

    # A larger argsz makes the client ask again, with enough room; then the reply is complete.
    good = True

    def on_region_info(self, body: bytes) -> bytes:
        if int.from_bytes(body[:4], "little") < 256:
            reply = super().on_region_info((32).to_bytes(4, "little") + body[4:])
            self.attach = []
            return (256).to_bytes(4, "little") + reply[4:]
        reply = super().on_region_info(body)
        return (256).to_bytes(4, "little") + reply[4:] + bytes(256 - len(reply))


class SlowFirstAnswer(Style):
    """The first answer of each connection takes one and a half seconds."""

    good = True

    def on_version(self, body: bytes) -> bytes:
        time.sleep(1.5)
        return super().on_version(body)


class SlowAnswers(Style):
    """Every answer takes 20 ms."""

    good = True
    only = ("v1.transition", "v1.saving.buffer-stays", "v1.resuming.data-is-used", "v1.state.stopped-before-return")

    def handle(self, number: int, command: int, flags: int, body: bytes, descriptors: list[int]) -> None:
        time.sleep(0.02)
        super().handle(number, command, flags, body, descriptors)


# -- VERSION ------------------------------------------------------------------------------------------------------


class NoMigrationInVersion(Style):
    """VERSION does not mention migration, and there is no dirty tracking; the region exists."""

    good = True
    may = {"qemu.probe.finds-all", "qemu.dirty.accepted"}  # QEMU needs dirty tracking
    capabilities: dict[str, object] | None = {"max_msg_fds": 1, "max_data_xfer_size": 1 << 20}

    def on_dirty_pages(self, body: bytes) -> bytes:
        raise Refusal(errno.EOPNOTSUPP)


class NoCapabilities(NoMigrationInVersion):
    """VERSION has only its numbers."""

    capabilities = None


class EmptyCapabilities(NoMigrationInVersion):
    """VERSION has an empty list of capabilities."""

    capabilities = {}


class SmallMessages(Style):
    """Messages move at most 4 KiB; buffers are larger."""

    good = True
    capabilities = {"max_msg_fds": 1, "max_data_xfer_size": 4096, "migration": {"pgsize": 4096}}

    def on_region_read(self, body: bytes) -> bytes:
        self.judge_size(body)
        return super().on_region_read(body)

    def on_region_write(self, body: bytes) -> bytes:
        self.judge_size(body)
        return super().on_region_write(body)

    def judge_size(self, body: bytes) -> None:
        """Hang up if a client exceeds the agreed size."""
        if ACCESS.unpack_from(body)[2] > 4096:
            raise Gone


class TinyMessages(SmallMessages):
    """Messages move at most 1 KiB."""

    capabilities = {"max_msg_fds": 1, "max_data_xfer_size": 1024, "migration": {"pgsize": 4096}}

    def judge_size(self, body: bytes) -> None:
        if ACCESS.unpack_from(body)[2] > 1024:
            raise Gone


class NoDescriptors(Style):
    """max_msg_fds is 0: the client's memory is reached by messages."""

    good = True
    capabilities = {"max_msg_fds": 0, "max_data_xfer_size": 1 << 20, "migration": {"pgsize": 4096}}
    by_message = True

    def handle(self, number: int, command: int, flags: int, body: bytes, descriptors: list[int]) -> None:
        if descriptors:
            raise Gone
        super().handle(number, command, flags, body, descriptors)


class DescriptorsUnstated(Style):
    """max_msg_fds and max_data_xfer_size are left out: the defaults apply."""

    good = True
    capabilities = {"migration": {"pgsize": 4096}}


class MoreInVersion(Style):
    """VERSION has more than a client needs."""

    good = True
    capabilities = {
        "max_msg_fds": 16,
        "max_data_xfer_size": 1 << 24,
        "migration": {"pgsize": 4096, "max_bitmap_size": 1 << 18},
        "twin_socket": False,
        "vendor": {"name": "\u00e9tranger", "list": [1, 2.5, None]},
    }
