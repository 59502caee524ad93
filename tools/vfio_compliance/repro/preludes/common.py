# SPDX-License-Identifier: GPL-2.0-only


class Answer:
    """How a call ended: bytes moved or 0, -1 for a failure and then its errno; and what came."""

    def __init__(self, value=0, error=0, data=b"", length=0):
        self.value, self.error, self.data, self.length = value, error, bytes(data), length

    an_error_is_right = False  # whether one is expected
    broken = False  # whether a check has shown the fault
    rounds = shown_in = 0  # how many there were, and in how many of them it showed
    otherwise = ""  # what the device did differently before

    @property
    def number(self):
        return int.from_bytes(self.data[:8], "little")

    @property
    def size(self):
        return len(self.data)

    @property
    def failed(self):
        return self.value < self.length

    def __str__(self):
        if self.value < 0:
            return errno.errorcode.get(self.error, f"errno {self.error}") if self.error else "an error without an errno"
        return f"bytes moved: {self.value} of {self.length}" if self.failed else "success"


class CannotTell(Exception):
    """The fault could neither be shown nor be ruled out."""


class ErrorCame(Exception):
    """An error came, as expected."""


class Saved:
    """Buffers of a device, and the number of their bytes in all."""

    most = 1 << 40  # bytes of a state that is read to its end

    def __init__(self):
        self.buffers, self.bytes = [], 0


def must(answer, what):
    """A call that the fault depends on has to succeed; if an error is expected, any will do."""
    if answer.failed and Answer.an_error_is_right:
        return no_error(answer, what)
    if answer.failed:
        raise CannotTell(f"{what}: {answer}")
    return answer


def taken(answer, what):
    """A call that succeeded when this was recorded."""
    if answer.failed:
        Answer.otherwise = f"{what} was refused ({answer}), and was not when this was recorded"
    return answer


def refused(answer, what):
    """A call that was refused when this was recorded."""
    if not answer.failed:
        Answer.otherwise = f"{what} succeeded, and was refused when this was recorded"
    return answer


def no_error(answer, what):
    if answer.value < 0:
        raise ErrorCame(f"{what}: {answer}")
    return answer


def gone(answer):
    return answer.value < 0 and answer.error in (errno.EPIPE, errno.EPROTO)


def check(shows, what, expected, seen):
    """A check at the end."""
    print(f"{what}: expected {expected}, seen {seen}")
    Answer.broken = Answer.broken or bool(shows)


def verdict():
    if Answer.otherwise:
        print(f"the fault does not show: {Answer.otherwise}")
        return 0
    print("the fault shows" if Answer.broken else "the fault does not show")
    return 1 if Answer.broken else 0


def rounds():
    """Repeat, for a while."""
    end = time.monotonic() + MOST_MILLISECONDS / 1000
    while Answer.rounds < MOST_ROUNDS and time.monotonic() < end:
        yield
        Answer.rounds += 1


def check_round(shows, what, expected, seen):
    """A check in each round."""
    if shows and not Answer.shown_in:
        check(True, what, expected, seen)
    Answer.shown_in += bool(shows)


def verdict_of_rounds():
    print(f"rounds in which the fault showed: {Answer.shown_in} of {Answer.rounds}")
    return verdict()


def described(answer):
    return str(answer)


def hexadecimal(value):
    return hex(value)


def field(answer, offset, width):
    return int.from_bytes(answer.data[offset : offset + width], "little")


def bit(answer, number):
    return number // 8 < len(answer.data) and answer.data[number // 8] >> number % 8 & 1


def any_bit(answer, first, last):
    return any(bit(answer, number) for number in range(first, last + 1))


def all_bits(answer, first, last):
    return all(bit(answer, number) for number in range(first, last + 1))


def bits(answer):
    found = [number for number in range(8 * len(answer.data)) if bit(answer, number)]
    return f"bits set: {', '.join(map(str, found[:8]))} ({len(found)} in all)" if found else described(answer) + ", no bit set"


def described_data(answer):
    return answer.data[:32].hex() if answer.data else described(answer)


def differ(answer, other, start):
    return not answer.failed and answer.data != other.data[start : start + len(answer.data)]


def difference(answer, other, start):
    for at, (one, two) in enumerate(zip(answer.data, other.data[start:])):
        if one != two:
            return f"byte {at} is {one:#x}, and was {two:#x}"
    return described(answer)


def same(answer, other):
    return answer.data == other.data


def is_hex(answer, data):
    return answer.data[: len(data) // 2] == bytes.fromhex(data)


def number(value, width):
    return value.to_bytes(width, "little")


def write_number(device, region, offset, width, value):
    return write_at(device, region, offset, number(value, width))


def write_hex(device, region, offset, data):
    return write_at(device, region, offset, bytes.fromhex(data))


def write_fill(device, region, offset, byte, length):
    return write_at(device, region, offset, bytes([byte]) * length)


def part(answer, start, length):
    """A part of data that was read before."""
    if start + length > answer.size:
        raise CannotTell("what was read is less than when this was recorded")
    return answer.data[start : start + length]


def write_copy(device, region, offset, answer, start, length):
    """Write data that was read before."""
    return write_at(device, region, offset, part(answer, start, length))


def read_mapped(device, region, offset, length):
    """Read through a mapping."""
    mapping, start = mapping_of(device, region, offset, length)
    return Answer(length, 0, mapping[start : start + length], length)


def write_mapped(device, region, offset, data):
    mapping, start = mapping_of(device, region, offset, len(data))
    mapping[start : start + len(data)] = bytes(data)
    return Answer(len(data), 0, b"", len(data))


def changed(device, iova, length, before):
    """Look at memory until it changes; a second is enough for a device that writes it."""
    end = time.monotonic() + 1
    while (answer := look(device, iova, length)).data == before.data and time.monotonic() < end:
        attend(device)
    return answer if answer.data != before.data else Answer(-1, errno.ETIMEDOUT)


def write_data(device, region, offset, data):
    return write_at(device, region, offset, bytes(data))


def no_data():
    return bytearray()


def add_copy(data, answer, start, length):
    data += answer.data[start : start + length]


def add_fill(data, byte, length):
    data += bytes([byte]) * length


def add_hex(data, digits):
    data += bytes.fromhex(digits)


def pause_for(milliseconds):
    time.sleep(milliseconds / 1000)


def pause_up_to(milliseconds):
    """A different time in each round: a fault that depends on timing shows in some of them."""
    time.sleep(random.random() * milliseconds / 1000)


def repeat(times, call, *arguments):
    """The same call again and again; the last answer."""
    for _ in range(times):
        answer = call(*arguments)
    return answer


def watch(milliseconds, call, *arguments):
    """The same call until its answer changes, or the time is up; returns the first answer and the last."""
    first = answer = call(*arguments)
    end = time.monotonic() + milliseconds / 1000
    while answer.data == first.data and time.monotonic() < end:
        answer = call(*arguments)
    return first, answer


def dirty_pages(device, flags):
    return dirty_request(device, 8, flags)


def get_bitmap(device, iova, size, pgsize, room):
    return dirty_request(device, 48, VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, iova, size, pgsize, room, room)


def unmap_memory(device, iova, size):
    return unmap_request(device, 24, 0, iova, size)


def unmap_with_bitmap(device, iova, size, pgsize, room):
    return unmap_request(device, 48, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, iova, size, pgsize, room, room)


def write_file(path, text):
    with open(path, "wb") as file:
        return Answer(file.write(text.encode()))


def count_interrupt(device, index, vector):
    return Answer(8, 0, number(device.events[index, vector].count(), 8), 8)


class Event:
    """An eventfd, and how often it was raised."""

    def __init__(self):
        self.number, self.came = os.eventfd(0, os.EFD_NONBLOCK), 0

    def count(self):
        try:
            self.came += os.eventfd_read(self.number)
        except BlockingIOError:
            pass
        return self.came
