# SPDX-License-Identifier: GPL-2.0-only
"""How a driver of the ring master posts buffers, for the profile beside this file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_compliance.run.actions.child import Device

REGISTERS, MEMORY = 0, 1
TAIL, HEAD, PHASE, MODE, PIN, LAPS = 0x00, 0x04, 0x08, 0x0C, 0x18, 0x1C
RING, DONE, LOOP, SLOTS, ENTRY = 0x0000, 0x0100, 0x0200, 16, 16
FREE, SIZE = 0x400, 48 * 1024


def descriptor(address: int, length: int, flags: int) -> bytes:
    """One entry of a ring."""
    return address.to_bytes(8, "little") + length.to_bytes(4, "little") + flags.to_bytes(4, "little")


def post(device: Device, iova: int, length: int) -> None:
    """Post one buffer, ring the doorbell, and wait for its completion."""
    index = device.read(REGISTERS, HEAD, 4)
    phase = device.read(REGISTERS, PHASE, 4) & 1
    device.write_bytes(MEMORY, DONE + ENTRY * index, descriptor(0, 0, phase ^ 1))
    device.write_bytes(MEMORY, RING + ENTRY * index, descriptor(iova, length, phase))
    device.write(REGISTERS, TAIL, 4, (index + 1) % SLOTS)
    device.wait(MEMORY, DONE + ENTRY * index + 12, 4, equals=phase, within=0.5, mask=3)


def wrote(device: Device) -> list[int]:
    """Where the last packet went, and how long it was."""
    index = (device.read(REGISTERS, HEAD, 4) - 1) % SLOTS
    entry = device.read_bytes(MEMORY, DONE + ENTRY * index, ENTRY)
    return [int.from_bytes(entry[:8], "little"), int.from_bytes(entry[8:12], "little")]


def loop(device: Device, iova: int, length: int) -> None:
    """Give the loop ring its buffer, and set it going."""
    device.write_bytes(MEMORY, LOOP, descriptor(iova, length, 0))
    device.write(REGISTERS, MODE, 4, 1)


def loop_ends(device: Device) -> None:
    """No more packets."""
    device.write(REGISTERS, MODE, 4, 0)


def pin(device: Device, iova: int, length: int, how: int = 1) -> None:
    """Pin the buffer of the loop ring."""
    device.write_bytes(MEMORY, LOOP, descriptor(iova, length, 0))
    device.write(REGISTERS, PIN, 4, how)


def unpin(device: Device, iova: int, length: int) -> None:
    """Let go of it."""
    pin(device, iova, length, 0)


def store(device: Device, value: int) -> None:
    """Fill the free memory, each KiB in another way."""
    blocks = [((value ^ at * 0x0101010101) & 2**64 - 1).to_bytes(8, "little") * 128 for at in range(FREE, SIZE, 1024)]
    device.write_bytes(MEMORY, FREE, b"".join(blocks))


def look(device: Device) -> list[int | bytes]:
    """All of the memory, and where in the ring the card is."""
    where = [device.read(REGISTERS, each, 4) for each in (TAIL, HEAD, PHASE, MODE, LAPS)]
    return [device.read_bytes(MEMORY, 0, SIZE), *where]
