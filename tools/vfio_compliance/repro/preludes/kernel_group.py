# SPDX-License-Identifier: GPL-2.0-only

USAGE = "DEVICE [SECOND DEVICE]: a folder in /sys, an address on PCI such as 0000:65:00.0, or GROUP:NAME"

LIBC = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE


def ioctl(file, number, argument=0):
    """ioctl(2) with a number or memory, which is changed in place."""
    try:
        data = argument if isinstance(argument, int) else bytearray(argument)
        value = fcntl.ioctl(file, number, data)
    except OSError as error:
        return Answer(-1, error.errno, b"" if isinstance(argument, int) else data)
    return Answer(value, 0, b"" if isinstance(argument, int) else data)


class Memory:
    """Zeroed memory, and its address; protected memory ends at an inaccessible page."""

    def __init__(self, size, guarded=False):
        self.size, room = size, (size + PAGE - 1) // PAGE * PAGE
        self.pages = mmap.mmap(-1, room + PAGE * guarded)
        self.start = room - size if guarded else 0
        first = ctypes.addressof(ctypes.c_char.from_buffer(self.pages))
        self.address = first + self.start
        if guarded:
            LIBC.mprotect(ctypes.c_void_p(first + room), ctypes.c_size_t(PAGE), 0)

    def bytes(self, at=0, length=None):
        at += self.start
        return self.pages[at : self.start + self.size if length is None else at + length]


class Device:
    """A device behind its group in /dev/vfio, in a container of its own or in that of another one."""

    def __init__(self, where, beside=None):
        self.group_number, self.name = device_at(where)
        self.container = os.dup(beside.container) if beside else opened_file("/dev/vfio/vfio")
        self.group = opened_file(f"/dev/vfio/{self.group_number}")
        joins = struct.pack("i", self.container)
        must(ioctl(self.group, VFIO_GROUP_SET_CONTAINER, joins), "putting the group into a container")
        if not beside:
            must(ioctl(self.container, VFIO_SET_IOMMU, 3), "VFIO_TYPE1v2_IOMMU")
        answer = ioctl(self.group, VFIO_GROUP_GET_DEVICE_FD, self.name.encode() + b"\0")
        self.file = must(answer, f"opening {self.name}").value
        self.migration, self.offsets = None, {}
        self.memory, self.maps, self.events = [], {}, {}
        info = must(ioctl(self.file, VFIO_DEVICE_GET_INFO, struct.pack("<I20x", 24)), "the device's information").data
        for index in range(min(struct.unpack_from("<I", info, 8)[0], 64)):
            answer = ioctl(self.file, VFIO_DEVICE_GET_REGION_INFO, struct.pack("<IIII4080x", 4096, 0, index, 0))
            if not answer.failed:
                self.look_at_region(index, answer.data)

    def look_at_region(self, index, data):
        """Note where a region begins, and find the migration region by its type."""
        self.offsets[index] = struct.unpack_from("<Q", data, 24)[0]
        flags, at = struct.unpack_from("<I", data, 4)[0], struct.unpack_from("<I", data, 12)[0]
        for _ in range(16 if flags & 8 else 0):
            if not 32 <= at <= len(data) - 16:
                break
            kind, _, following = struct.unpack_from("<HHI", data, at)
            if kind == 2 and struct.unpack_from("<II", data, at + 8) == (3, 1):
                self.migration = index
            at = following

    def place(self, region, offset):
        """An offset in the device's file."""
        if region is MIGRATION and self.migration is None:
            raise CannotTell("the device has no migration region")
        at = self.offsets.get(self.migration if region is MIGRATION else region, 0) + offset & 2**64 - 1
        return at - 2**64 if at >> 63 else at


def opened_file(path):
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise CannotTell(f"{path}: {error.strerror}")


def device_at(where):
    """Group and name of a device."""
    folder = where if "/" in where else f"/sys/bus/pci/devices/{where}"
    if os.path.isdir(folder):
        try:
            return os.path.basename(os.readlink(f"{folder}/iommu_group")), os.path.basename(folder.rstrip("/"))
        except OSError as error:
            raise CannotTell(f"{folder}/iommu_group: {error.strerror}")
    group, _, name = where.partition(":")
    if not group.isdecimal() or not name:
        raise CannotTell(f"{where}: no such device")
    return group, name


FIRST = []


def opened(which):
    if which >= len(sys.argv):
        raise CannotTell("this takes two devices: name the second one, too")
    device = Device(sys.argv[which], FIRST[-1] if which > 1 and FIRST else None)
    if which == 1:
        FIRST.append(device)
    return device


def close_device(device):
    for mapping in device.maps.values():
        mapping.close()
    for file in (device.file, device.group, device.container):
        os.close(file)
    return Answer()


def reset(device):
    return ioctl(device.file, VFIO_DEVICE_RESET)


def read_at(device, region, offset, length):
    try:
        data = os.pread(device.file, length, device.place(region, offset))
    except OSError as error:
        return Answer(-1, error.errno, b"", length)
    return Answer(len(data), 0, data, length)


def write_at(device, region, offset, data):
    try:
        done = os.pwrite(device.file, data, device.place(region, offset))
    except OSError as error:
        return Answer(-1, error.errno, b"", len(data))
    return Answer(done, 0, b"", len(data))


def map_region(device, region, offset, length):
    """Map a part of a region; it stays mapped."""
    try:
        device.maps[region, offset, length] = mmap.mmap(device.file, length, offset=device.place(region, offset))
    except (OSError, ValueError) as error:
        return Answer(-1, getattr(error, "errno", errno.ENXIO))
    return Answer()


def mapping_of(device, region, offset, length):
    """The mapping of the pages around a part of a region, and the start of the part in it."""
    first = offset // PAGE * PAGE
    size = (offset + length + PAGE - 1) // PAGE * PAGE - first
    if (region, first, size) not in device.maps:
        must(map_region(device, region, first, size), "mapping the region")
    return device.maps[region, first, size], offset - first


def map_memory(device, iova, size, flags):
    """Map zeroed memory for the device."""
    memory = Memory(size)
    request = struct.pack("<IIQQQ", 32, flags, memory.address, iova, size)
    answer = ioctl(device.container, VFIO_IOMMU_MAP_DMA, request)
    if not answer.failed:
        device.memory.append((iova, memory))
    return answer


def look(device, iova, length):
    """The content of memory that is mapped for the device."""
    for start, memory in reversed(device.memory):
        if start <= iova and iova + length <= start + memory.size:
            return Answer(length, 0, memory.bytes(iova - start, length), length)
    return Answer(-1, errno.EFAULT)


def attend(device):
    """Give the device time."""
    time.sleep(0.001)


READONLY = False


def bitmaps_are_readonly(now):
    """From now on, or no longer, memory for bitmaps cannot be written."""
    global READONLY
    READONLY = bool(now)


def bitmap_of(size):
    """A buffer for a bitmap, which ends at an inaccessible page."""
    bitmap = Memory(size, guarded=True)
    if READONLY and size:
        start = bitmap.address - bitmap.address % PAGE
        LIBC.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(bitmap.address + size - start), mmap.PROT_READ)
    return bitmap


def dirty_request(device, argsz, flags, iova=0, size=0, pgsize=0, room=0, memory=0):
    """VFIO_IOMMU_DIRTY_PAGES."""
    bitmap = bitmap_of(memory) if memory or room else None
    rest = (iova, size, pgsize, room, bitmap.address) if bitmap else (2**64 - 1,) * 5
    answer = ioctl(device.container, VFIO_IOMMU_DIRTY_PAGES, struct.pack("<IIQQQQQ", argsz, flags, *rest))
    answer.data = bitmap.bytes() if bitmap else b""
    return answer


def unmap_request(device, argsz, flags, iova, size, pgsize=0, room=0, memory=0):
    """VFIO_IOMMU_UNMAP_DMA."""
    bitmap = bitmap_of(memory) if memory or room else None
    rest = (pgsize, room, bitmap.address) if bitmap else (2**64 - 1,) * 3
    answer = ioctl(device.container, VFIO_IOMMU_UNMAP_DMA, struct.pack("<IIQQQQQ", argsz, flags, iova, size, *rest))
    answer.unmapped = field(answer, 16, 8)
    answer.data = bitmap.bytes() if bitmap else b""
    if not answer.failed:
        device.memory = [each for each in device.memory if not iova <= each[0] < iova + size]
    return answer


def enable_interrupt(device, index, vector):
    """Have an interrupt reported by an eventfd."""
    file = device.events[index, vector] = Event()
    return ioctl(device.file, VFIO_DEVICE_SET_IRQS, struct.pack("<IIIIIi", 24, 4 | 32, index, vector, 1, file.number))


OF_CONTAINER = (VFIO_CHECK_EXTENSION, VFIO_IOMMU_GET_INFO, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA, VFIO_IOMMU_DIRTY_PAGES)


def request(device, number, argument):
    """Any other request, with its argument in hexadecimal; the answer has the argument afterwards."""
    argument = bytes.fromhex(argument)
    # There is as much memory as argsz promises, whatever the request has: nothing after it must be overwritten.
    room = max(len(argument), int.from_bytes(argument[:4], "little") if len(argument) >= 4 else 0)
    answer = ioctl(device.container if number in OF_CONTAINER else device.file, number, argument.ljust(min(room, 1 << 20), b"\0"))
    answer.data = answer.data[: len(argument)]
    return answer


def request_bad_pointer(device, number, place, argument):
    """A request whose argument is in memory that cannot be used: at NULL, at an unmapped address, in read-only memory,
    or with an inaccessible end."""
    data = bytes.fromhex(argument)
    memory = Memory(len(data), guarded=True)
    memory.pages[memory.start : memory.start + len(data)] = data
    if place == "read-only":
        LIBC.mprotect(ctypes.c_void_p(memory.address // PAGE * PAGE), ctypes.c_size_t(PAGE), mmap.PROT_READ)
    address = 0 if place == "NULL" else memory.address
    file = device.container if number in OF_CONTAINER else device.file
    value = LIBC.ioctl(file, ctypes.c_ulong(number), ctypes.c_void_p(address))
    return Answer(value, ctypes.get_errno() if value < 0 else 0)
