# SPDX-License-Identifier: GPL-2.0-only
"""What the reference device does, for the profile python.yaml next to this file.

The first parameter of each function is the device. The others are filled in by name: ``iova`` and ``length`` if
memory is written, ``value`` if a number is stored. The register offsets are those of the datasheet,
tools/refdriver/DEVICE.md.
"""

REGISTERS, MEMORY = 0, 2  # regions
MEMORY_SIZE, PAGE = 64 * 1024, 4096

CONTROL, WORK, DMA_ADDRESS, DMA_LENGTH, DOORBELL, STATUS = 0x04, 0x08, 0x10, 0x18, 0x1C, 0x20
PIN_ADDRESS, PIN_LENGTH, PIN = 0x50, 0x58, 0x5C


def work_done(device):
    """A number that grows while the device runs."""
    return device.read(REGISTERS, WORK, 8)


def write_once(device, iova, length):
    """Make the device write, and check that it succeeded: if an address is refused, STATUS shows it."""
    device.write(REGISTERS, DMA_ADDRESS, 8, iova)
    device.write(REGISTERS, DMA_LENGTH, 4, length)
    device.write(REGISTERS, DOORBELL, 4, 0x5A)
    device.wait(REGISTERS, STATUS, 4, equals=1, mask=1, within=0.1)


def stream_to(device, iova):
    """Make the device write to this address about once a millisecond."""
    device.write(REGISTERS, DMA_ADDRESS, 8, iova)
    device.write(REGISTERS, CONTROL, 4, device.read(REGISTERS, CONTROL, 4) | 1)


def stop_stream(device):
    """Stop these writes."""
    device.write(REGISTERS, CONTROL, 4, device.read(REGISTERS, CONTROL, 4) & ~1)


def pin(device, iova, length, command=1):
    """Make the driver pin pages."""
    device.write(REGISTERS, PIN_ADDRESS, 8, iova)
    device.write(REGISTERS, PIN_LENGTH, 4, length)
    device.write(REGISTERS, PIN, 4, command)


def unpin(device, iova, length):
    """Make the driver unpin them."""
    pin(device, iova, length, command=2)


def fill_memory(device, value):
    """Store ``value`` in all of the device's memory, differently in each page."""
    for page in range(0, MEMORY_SIZE, PAGE):
        word = (value * (page + 1) & 2**64 - 1).to_bytes(8, "little")
        device.write_bytes(MEMORY, page, word * (PAGE // 8))


def memory(device):
    """All of the memory; for bytes, a digest is compared."""
    return device.read_bytes(MEMORY, 0, MEMORY_SIZE)
