# SPDX-License-Identifier: GPL-2.0-only

USAGE = "SOCKET [SOCKET OF A SECOND DEVICE]"


class Device:
    """A connection to a vfio-user server, version 0.0 of the protocol."""

    def __init__(self, path):
        self.path, self.id, self.migration, self.gone = path, 0, None, False
        self.memory, self.files, self.maps, self.events = {}, {}, {}, {}
        self.stream = socket.socket(socket.AF_UNIX)
        try:
            self.stream.connect(path)
        except OSError as error:
            raise CannotTell(f"{path}: {error.strerror}")
        can = b'{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576,"migration":{"pgsize":4096}}}\0'
        said = must(self.message(1, struct.pack("<HH", 0, 0) + can), "the version of the protocol").data
        can = json.loads(said[4:].rstrip(b"\0") or b"{}").get("capabilities", {})
        self.most, self.takes_files = can.get("max_data_xfer_size", 1 << 20), can.get("max_msg_fds", 1)
        self.most_argsz = 2**32 - 1 if can.get("container_info") else min(self.most, 1 << 20)
        regions = struct.unpack_from("<4I", must(self.info(4, 16, 16), "the device's information").data)[2]
        for index in range(min(regions, 64)):
            answer = self.info(5, 32, 4096, index)
            if not answer.failed:
                self.look_at_region(index, answer.data)

    def info(self, command, fixed, room, index=0):
        return self.message(command, struct.pack("<4I", room, 0, index, 0).ljust(fixed, b"\0"), keep=index)

    def look_at_region(self, index, data):
        """Find the migration region by its type."""
        flags, at = struct.unpack_from("<I", data, 4)[0], struct.unpack_from("<I", data, 12)[0]
        for _ in range(16 if flags & 8 else 0):
            if not 32 <= at <= len(data) - 16:
                break
            kind, _, following = struct.unpack_from("<HHI", data, at)
            if kind == 2 and struct.unpack_from("<II", data, at + 8) == (3, 1):
                self.migration = index
            at = following

    def message(self, command, payload, files=(), keep=None):
        """Send a command and wait for its reply; the server's own requests are served in the meantime."""
        if self.gone:
            return Answer(-1, errno.EPIPE)
        self.id = self.id + 1 & 0xFFFF
        head = struct.pack("<HHIII", self.id, command, 16 + len(payload), 0, 0)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        try:
            sent = self.stream.sendmsg([head, payload], rights)
            self.stream.sendall((head + payload)[sent:])
            while True:
                number, asked, size, flags, error = struct.unpack("<HHIII", self.take(16))
                data = self.take(size - 16)
                if flags & 15 == 1 and number == self.id:
                    break
                if flags & 15 == 0:
                    self.serve(number, asked, data)
        except (BrokenPipeError, ConnectionResetError, EOFError):
            self.gone = True
            return Answer(-1, errno.EPIPE)
        if keep is not None and self.came:
            self.files[keep] = self.came[0]
        self.came = []
        return Answer(-1, error) if flags & 32 else Answer(0, 0, data)

    came = ()

    def take(self, count):
        data, done = bytearray(count), 0
        while done < count:
            done_now, rights, _, _ = self.stream.recvmsg_into([memoryview(data)[done:]], socket.CMSG_SPACE(32))
            for level, kind, content in rights:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self.came = [*self.came, *array.array("i", content[: len(content) // 4 * 4])]
            if not done_now:
                raise EOFError
            done += done_now
        return bytes(data)

    def serve(self, number, command, data):
        """The device reads or writes memory that is mapped for it."""
        address, count = struct.unpack_from("<QQ", data)
        error, answer = errno.EFAULT, b""
        for start, (pages, flags) in self.memory.items():
            if start <= address and address + count <= start + len(pages) and flags & ((command == 12 and 2) or 1):
                at, error = address - start, 0
                if command == 12:
                    pages[at : at + count] = data[16 : 16 + count]
                else:
                    answer = pages[at : at + count]
        reply = b"" if error else struct.pack("<QQ", address, count) + answer
        flags = 33 if error else 1
        self.stream.sendall(struct.pack("<HHIII", number, command, 16 + len(reply), flags, error) + reply)

    def region(self, region):
        if region is not MIGRATION:
            return region
        if self.migration is None:
            raise CannotTell("the device has no migration region")
        return self.migration


def opened(which):
    if which >= len(sys.argv):
        raise CannotTell("this takes two devices: name the second one, too")
    return Device(sys.argv[which])


def close_device(device):
    device.stream.close()
    return Answer()


def reset(device):
    return device.message(13, b"")


def read_at(device, region, offset, length):
    data, region = b"", device.region(region)
    while len(data) < length or not length:
        asked = min(device.most, length - len(data))
        answer = device.message(9, struct.pack("<QII", offset + len(data) & 2**64 - 1, region, asked))
        if answer.failed:
            return Answer(-1, answer.error, b"", length) if not data else Answer(len(data), 0, data, length)
        data += answer.data[16:]
        if len(answer.data) - 16 < asked or not length:
            break
    return Answer(len(data), 0, data, length)


def write_at(device, region, offset, data):
    done, region = 0, device.region(region)
    while done < len(data) or not data:
        piece = data[done : done + device.most]
        answer = device.message(10, struct.pack("<QII", offset + done & 2**64 - 1, region, len(piece)) + piece)
        if answer.failed:
            return Answer(-1, answer.error, b"", len(data)) if not done else Answer(done, 0, b"", len(data))
        moved = struct.unpack_from("<I", answer.data, 12)[0]
        done += moved
        if moved < len(piece) or not data:
            break
    return Answer(done, 0, b"", len(data))


def map_region(device, region, offset, length):
    """Map a part of a region; it stays mapped."""
    index = device.region(region)
    info = must(device.info(5, 32, 4096, index), "the region's information").data
    if index not in device.files:
        return Answer(-1, errno.ENODEV)
    where = struct.unpack_from("<Q", info, 24)[0]
    try:
        device.maps[index, offset, length] = mmap.mmap(device.files[index], length, offset=where + offset)
    except (OSError, ValueError) as error:
        return Answer(-1, getattr(error, "errno", errno.ENXIO))
    return Answer()


def mapping_of(device, region, offset, length):
    """The mapping of the pages around a part of a region, and the start of the part in it."""
    index, first = device.region(region), offset // 4096 * 4096
    size = (offset + length + 4095) // 4096 * 4096 - first
    if (index, first, size) not in device.maps:
        must(map_region(device, region, first, size), "mapping the region")
    return device.maps[index, first, size], offset - first


def look(device, iova, length):
    """The content of memory that is mapped for the device."""
    for start, (pages, _) in device.memory.items():
        if start <= iova and iova + length <= start + len(pages):
            return Answer(length, 0, pages[iova - start : iova - start + length], length)
    return Answer(-1, errno.EFAULT)


def attend(device):
    """Serve the device's requests."""
    while select.select([device.stream], [], [], 0.001)[0]:
        number, command, size, _, _ = struct.unpack("<HHIII", device.take(16))
        device.serve(number, command, device.take(size - 16))


def enable_interrupt(device, index, vector):
    """Have an interrupt reported by an eventfd."""
    file = device.events[index, vector] = Event()
    return device.message(8, struct.pack("<IIIII", 20, 4 | 32, index, vector, 1), (file.number,))


def map_memory(device, iova, size, flags):
    """Map zeroed memory for the device, in a file that it can map, too."""
    file = os.memfd_create("memory")
    os.truncate(file, size)
    pages = mmap.mmap(file, size)
    message = struct.pack("<IIQQQ", 32, flags, 0, iova, size)
    answer = device.message(2, message, (file,) if device.takes_files else ())
    if not answer.failed:
        device.memory[iova] = pages, flags
    return answer


def dirty_request(device, argsz, flags, iova=0, size=0, pgsize=0, room=0, memory=0):
    """VFIO_IOMMU_DIRTY_PAGES; in the message the bitmap takes the place of its address."""
    if not flags & VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP:
        return device.message(14, struct.pack("<II", argsz, flags))
    argsz = argsz if argsz < 48 else max(40, min(argsz - 8 + room, device.most_argsz))
    answer = device.message(14, struct.pack("<IIQQQQ", argsz, flags, iova, size, pgsize, room))
    return bitmap_of(answer, 40, argsz, room)


def unmap_request(device, argsz, flags, iova, size, pgsize=0, room=0, memory=0):
    """VFIO_IOMMU_UNMAP_DMA; as above."""
    if flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP:
        argsz = argsz if argsz < 48 else max(40, min(argsz - 8 + room, device.most_argsz))
        message = struct.pack("<IIQQQQ", argsz, flags, iova, size, pgsize, room)
    else:
        message = struct.pack("<IIQQ", argsz, flags, iova, size)
    answer = device.message(3, message)
    if not answer.failed:
        for start in [start for start in device.memory if iova <= start < iova + size]:
            del device.memory[start]
    done = field(answer, 16, 8)
    answer = bitmap_of(answer, 40, argsz, room) if flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP else answer
    answer.unmapped = done
    return answer


def bitmap_of(answer, fixed, argsz, room):
    if len(answer.data) > fixed + room:
        return Answer(-1, errno.EPROTO)  # more than there is memory for
    if not answer.failed and len(answer.data) <= fixed and field(answer, 0, 4) > argsz:
        return Answer(-1, errno.EINVAL)
    answer.data = answer.data[fixed:]
    return answer


COMMANDS = {
    VFIO_DEVICE_GET_INFO: (4, 16),
    VFIO_DEVICE_GET_REGION_INFO: (5, 32),
    VFIO_DEVICE_GET_IRQ_INFO: (7, 16),
    VFIO_IOMMU_GET_INFO: (0x8001, 4),
}


def request(device, number, argument):
    """Any other request, with its argument in hexadecimal; the answer has the argument afterwards."""
    if number not in COMMANDS:
        return Answer(-1, errno.ENOTTY)  # the protocol has no message for it
    command, fixed = COMMANDS[number]
    argument = bytes.fromhex(argument)
    message = argument[:4096].ljust(4, b"\0") if command == 0x8001 else argument[:fixed].ljust(fixed, b"\0")
    answer = device.message(command, message)
    if answer.failed:
        return Answer(-1, answer.error, argument)
    return Answer(0, 0, (answer.data + argument[len(answer.data) :])[: len(argument)])
