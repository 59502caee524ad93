# SPDX-License-Identifier: GPL-2.0-only


def save(device, region, buffers, reads, read=read_at):
    """Read a number of the buffers that the device offers, or all: pending_bytes, data_offset, data_size, the data."""
    saved = Saved()
    while buffers is None or len(saved.buffers) < buffers:
        pending = must(repeat(reads, read_at, device, region, PENDING_BYTES, 8), "pending_bytes").number
        if not pending or len(saved.buffers) == MOST_BUFFERS or saved.bytes > Saved.most:
            break
        offset = must(read_at(device, region, DATA_OFFSET, 8), "data_offset").number
        size = must(read_at(device, region, DATA_SIZE, 8), "data_size").number
        if not size or size > MOST_BYTES:
            raise CannotTell(f"data_size is {size} while bytes are pending")
        saved.buffers.append(must(read(device, region, offset, size), "the data"))
        saved.bytes += size
    return saved


def save_at_most(most):
    """A state with more bytes is not read to its end."""
    Saved.most = most


def save_mapped(device, region, buffers, reads):
    """The same, with the data read through a mapping."""
    return save(device, region, buffers, reads, read_mapped)


def buffer_of(saved, number):
    if number >= len(saved.buffers):
        raise CannotTell(f"the device does not offer as many buffers: {len(saved.buffers)}")
    return saved.buffers[number]


def load(device, region, saved, first, buffers, write=write_at):
    """Write a number of these buffers, or all, to a resuming device: data_offset, the data, data_size."""
    for buffer in saved.buffers[first : None if buffers is None else first + buffers]:
        offset = must(read_at(device, region, DATA_OFFSET, 8), "data_offset").number
        must(write(device, region, offset, buffer.data), "the data")
        answer = write_number(device, region, DATA_SIZE, 8, len(buffer.data))
        if answer.failed:
            return answer
    return Answer()


def load_mapped(device, region, saved, first, buffers):
    """The same, with the data written through a mapping."""
    return load(device, region, saved, first, buffers, write_mapped)
