# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's trace events on its VFIO devices, and the accesses that it must have made for these.

QEMU writes an event after something has succeeded. Failures have no event, and are not in the trace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from ...interfaces import JUDGED
from ...uapi.type1 import DirtyPagesFlags
from ...uapi.vfio import ffi
from ..trace import Region
from .events import Event
from .recorder import Recorder

_REGISTER: Final = {register.name: register for register in JUDGED.registers}
_STATE: Final = _REGISTER["device_state"]
_PENDING: Final = _REGISTER["pending_bytes"]
_OFFSET: Final = _REGISTER["data_offset"]
_SIZE: Final = _REGISTER["data_size"]

_DIRTY: Final = ffi.sizeof("struct vfio_iommu_type1_dirty_bitmap")
_GET: Final = _DIRTY + ffi.sizeof("struct vfio_iommu_type1_dirty_bitmap_get")
_MAP: Final = ffi.sizeof("struct vfio_iommu_type1_dma_map")

#: The most devices, regions of a device, and areas of a region that are distinguished.
_MOST: Final = 256

_LARGEST: Final = (1 << 64) - 1


class OtherInterface(Exception):
    """The log of a QEMU that uses another version of the interface; the message begins with the line's number."""


@dataclass
class _Device:
    """What is known about a device."""

    number: int
    #: Name and size of each region, by its index, and the areas of it that can be mapped.
    regions: dict[int, tuple[str, int, list[tuple[int, int]]]] = field(default_factory=dict)
    migration: int | None = None
    #: The parts of the migration region that are mapped: first byte, and the one after the last.
    mapped: list[tuple[int, int]] = field(default_factory=list)
    #: Whether the last event was a change of state.
    changed: bool = False


class Importer:
    """Records the events of one QEMU."""

    def __init__(self, recorder: Recorder, region: int | None = None) -> None:
        """``region``: index of the migration region, if no event shows it."""
        self._recorder = recorder
        self._region = region
        self._devices: dict[str, _Device] = {}
        self._last: _Device | None = None
        self._sparse: tuple[_Device, int] | None = None
        self._containers: dict[int, int] = {}
        self._tracked: set[int] = set()
        #: How many events were understood.
        self.known = 0

    def take(self, events: Iterable[Event]) -> None:
        """Record all of these. Raises OtherInterface."""
        handlers = _HANDLERS
        for event in events:
            handler = handlers.get(event.name)
            if handler is None:
                continue
            pattern, carry_out = handler
            found = pattern.fullmatch(event.text)
            if found is None or event.cut:
                if event.name == "vfio_migration_set_state" and _BY_NAME.fullmatch(event.text):
                    raise OtherInterface(f"{event.line}: a QEMU of 8 or later, which uses version 2 of the interface")
                self._recorder.gap(event.time, f"line {event.line}: the event {event.name} cannot be read")
                continue
            self.known += 1
            carry_out(self, event, found)
        if self._devices:
            self._recorder.note("QEMU's events show only successes: failures are not in the trace")

    def _device(self, event: Event, name: str) -> _Device | None:
        device = self._devices.get(name)
        if device is None:
            if len(self._devices) >= _MOST:
                return None
            device = self._devices[name] = _Device(len(self._devices), migration=self._region)
            if event.name != "vfio_get_device":
                self._recorder.gap(event.time, f"line {event.line}: {name} was opened before the log began")
        self._last = device
        return device

    def _opened(self, event: Event, found: re.Match[str]) -> None:
        if device := self._device(event, found["name"]):
            device.regions.clear()
            device.mapped.clear()
            self._recorder.simple("open", event.time, device.number)

    def _closed(self, event: Event, found: re.Match[str]) -> None:
        if len(self._devices) == 1:
            self._recorder.simple("close", event.time, 0)
        else:
            self._recorder.gap(event.time, f"line {event.line}: a device was closed; the event does not say which")

    def _described(self, event: Event, found: re.Match[str]) -> None:
        index, size = int(found["index"]), int(found["size"], 16)
        device = self._device(event, found["name"])
        if device is None or index > 0xFFFFFFFF or size > _LARGEST or len(device.regions) >= _MOST:
            return
        areas: list[tuple[int, int]] = []
        if self._sparse and self._sparse[0] is device and self._sparse[1] == index and index in device.regions:
            areas = device.regions[index][2]
        device.regions[index] = found["title"], size, areas
        self._report(device, index)

    def _parts(self, event: Event, found: re.Match[str]) -> None:
        if (device := self._device(event, found["name"])) and len(device.regions) < _MOST:
            index = int(found["index"])
            self._sparse = device, index
            device.regions[index] = "", 0, []

    def _part(self, event: Event, found: re.Match[str]) -> None:
        area = _area(found)
        if self._sparse and area:
            device, index = self._sparse
            areas = device.regions.get(index, ("", 0, []))[2]
            if len(areas) < _MOST:
                areas.append((area[0], area[1] - area[0]))

    def _probed(self, event: Event, found: re.Match[str]) -> None:
        index = int(found["index"])
        if (device := self._device(event, found["name"])) and index <= 0xFFFFFFFF:
            device.migration = index
            self._report(device, index)

    def _report(self, device: _Device, index: int) -> None:
        _, size, areas = device.regions.get(index, ("", 0, []))
        self._recorder.region(device.number, Region(index, size, tuple(areas), index == device.migration))

    def _mapped(self, event: Event, found: re.Match[str]) -> None:
        area = _area(found)
        owners = [
            (device, index)
            for device in self._devices.values()
            for index, (title, _, _) in device.regions.items()
            if title == found["title"]
        ]
        if len(owners) > 1:
            owners = [each for each in owners if each[0] is self._last]
        if len(owners) != 1 or area is None:
            self._recorder.gap(
                event.time, f"line {event.line}: a mapping of {found['title']}; the event does not say of which device"
            )
            return
        device, index = owners[0]
        begin, end = area
        if index == device.migration and len(device.mapped) < _MOST:
            device.mapped.append(area)
        self._recorder.access("map", event.time, 0, device.number, (index, begin, end - begin), 0, 0)

    def _unmapped(self, event: Event, found: re.Match[str]) -> None:
        for device in self._devices.values():
            title = device.regions.get(-1 if device.migration is None else device.migration, ("",))[0]
            if title == found["title"] and (area := _area(found)) in device.mapped:
                device.mapped.remove(area)

    def _reset(self, event: Event, found: re.Match[str]) -> None:
        if device := self._device(event, found["name"]):
            self._recorder.reset(event.time, 0, 0, device.number)

    def _hot_reset(self, event: Event, found: re.Match[str]) -> None:
        if found["result"] == "Success":
            self._recorder.gap(event.time, f"line {event.line}: {found['name']} was reset by VFIO_DEVICE_PCI_HOT_RESET")

    def _guest_access(self, event: Event, found: re.Match[str]) -> None:
        device = self._device(event, found["name"])
        length, value = int(found["length"]), int(found["value"], 16)
        place = int(found["index"]), int(found["offset"], 16), length
        if device is None or not 1 <= length <= 8 or place[0] > 0xFFFFFFFF or place[1] > _LARGEST:
            return
        verb = event.name.removeprefix("vfio_region_")
        data = (value & (1 << 8 * length) - 1).to_bytes(length, "little")
        self._recorder.access(verb, event.time, 0, device.number, place, length, 0, data)

    # The migration region

    def _access(self, event: Event, device: _Device, verb: str, offset: int, length: int, value: int | None) -> None:
        if device.migration is not None and 0 <= offset <= _LARGEST and 0 < length <= _LARGEST:
            data = b"" if value is None else (value & (1 << 8 * length) - 1).to_bytes(length, "little")
            place = device.migration, offset, length
            self._recorder.access(verb, event.time, 0, device.number, place, length, 0, data)

    def _register(self, event: Event, device: _Device, verb: str, register: Any, value: int | None) -> None:
        self._access(event, device, verb, register.offset, register.width, value)

    def _data(self, event: Event, device: _Device, verb: str, offset: int, size: int) -> None:
        """All of a buffer, except what goes through a mapping."""
        for begin, end in _unmapped_parts(offset, offset + size, device.mapped):
            self._access(event, device, verb, begin, end - begin, None)

    def _device_of_state(self, event: Event, found: re.Match[str]) -> _Device | None:
        device = self._device(event, found["name"])
        if device and device.migration is None:
            self._recorder.note(
                f"no event says which is the migration region of {found['name']}; name it with --region"
            )
        return device

    def _state(self, event: Event, found: re.Match[str]) -> None:
        if device := self._device_of_state(event, found):
            device.changed = True
            self._register(event, device, "read", _STATE, None)
            self._register(event, device, "write", _STATE, int(found["state"]))

    def _vm_state(self, event: Event, found: re.Match[str]) -> None:
        if device := self._device(event, found["name"]):
            if not device.changed:
                self._recorder.gap(event.time, f"line {event.line}: a change of state without an event: it failed")
            device.changed = False

    def _pending(self, event: Event, found: re.Match[str]) -> None:
        if device := self._device_of_state(event, found):
            self._register(event, device, "read", _PENDING, int(found["pending"], 16))

    def _saved(self, event: Event, found: re.Match[str]) -> None:
        if device := self._device_of_state(event, found):
            offset, size = int(found["offset"], 16), int(found["size"], 16)
            self._register(event, device, "read", _OFFSET, offset)
            self._register(event, device, "read", _SIZE, size)
            self._data(event, device, "read", offset, size)

    def _loaded(self, event: Event, found: re.Match[str]) -> None:
        if device := self._device_of_state(event, found):
            offset, size = int(found["offset"], 16), int(found["size"], 16)
            self._register(event, device, "read", _OFFSET, offset)
            self._data(event, device, "write", offset, size)
            self._register(event, device, "write", _SIZE, size)

    # The container

    def _dma_mapped(self, event: Event, found: re.Match[str]) -> None:
        if (area := _area(found, inclusive=True)) is not None:
            begin, end = area
            self._recorder.container(
                "dma-map", event.time, 0, 0, 0, argsz=_MAP, iova=begin, size=min(end - begin, _LARGEST)
            )

    def _dma_unmapped(self, event: Event, found: re.Match[str]) -> None:
        if (area := _area(found, inclusive=True)) is not None:
            begin, end = area
            self._recorder.container("dma-unmap", event.time, 0, 0, 0, iova=begin, size=min(end - begin, _LARGEST))

    def _fetched(self, event: Event, found: re.Match[str]) -> None:
        """A bitmap came: so tracking had been started, and QEMU passes memory that is zero."""
        iova, size, room = (int(found[each], 16) for each in ("iova", "size", "room"))
        if max(iova, size, room) > _LARGEST or (
            int(found["fd"]) not in self._containers and len(self._containers) >= _MOST
        ):
            return
        number = self._containers.setdefault(int(found["fd"]), len(self._containers))
        if number not in self._tracked:
            self._tracked.add(number)
            self._recorder.container("dirty", event.time, 0, number, 0, argsz=_DIRTY, flags=int(DirtyPagesFlags.START))
        get, bitmap = int(DirtyPagesFlags.GET_BITMAP), {"size": room, "zero": True}
        self._recorder.container(
            *("dirty", event.time, 0, number, 0), argsz=_GET, flags=get, iova=iova, size=size, bitmap=bitmap
        )

    def _migration(self, event: Event, found: re.Match[str]) -> None:
        """At its end, QEMU stops tracking, for which there is no event."""
        if found["state"] in ("completed", "failed", "cancelled"):
            for number in sorted(self._tracked):
                self._recorder.container(
                    "dirty", event.time, 0, number, 0, argsz=_DIRTY, flags=int(DirtyPagesFlags.STOP)
                )
            self._tracked.clear()


def _area(found: re.Match[str], *, inclusive: bool = False) -> tuple[int, int] | None:
    """First byte and the one after the last, as in older QEMU; newer QEMU writes the last. None if malformed."""
    begin, end = int(found["begin"], 16), int(found["end"], 16)
    if inclusive or end & 1:
        end += 1
    return (begin, end) if begin < end <= _LARGEST + 1 else None


def _unmapped_parts(begin: int, end: int, mapped: list[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    for first, behind in sorted(mapped):
        if first > begin:
            yield begin, min(first, end)
        begin = max(begin, behind)
        if begin >= end:
            return
    if begin < end:
        yield begin, end


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern from words and placeholders: {name} a name, {x:..} a hexadecimal number, {d:..} a decimal one."""
    parts = re.split(r"(\{[a-z:]+\})", text)
    made = []
    for part in parts:
        if part.startswith("{x:"):
            made.append(rf"(?:0x)?(?P<{part[3:-1]}>[0-9a-f]{{1,16}})")
        elif part.startswith("{d:"):
            made.append(rf"(?P<{part[3:-1]}>\d{{1,10}})")
        elif part.startswith("{"):
            made.append(rf"(?P<{part[1:-1]}>[^\"()\[\]]{{1,255}}?)")
        else:
            made.append(r" {0,3}".join(re.escape(word) for word in part.split(" ")))
    return re.compile("".join(made) + r"\s{0,8}", re.DOTALL)


_BY_NAME: Final = re.compile(r"\s{0,3}\([^()]{1,255}\) (?:to )?(?:new )?state [A-Z].{0,200}", re.DOTALL)

_Handler = Callable[[Importer, Event, "re.Match[str]"], None]
_TEXTS: Final[dict[str, tuple[str, _Handler]]] = {
    "vfio_get_device": ("Device {name} flags: {d:flags}, regions: {d:regions}, irqs: {d:irqs}", Importer._opened),
    "vfio_put_base_device": ("close vdev->fd={d:fd}", Importer._closed),
    "vfio_region_setup": (
        'Device {name}, region {d:index} "{title}", flags: {x:flags}, offset: {x:offset}, size: {x:size}',
        Importer._described,
    ),
    "vfio_region_sparse_mmap_header": (
        "Device {name} region {d:index}: {d:count} sparse mmap entries",
        Importer._parts,
    ),
    "vfio_region_sparse_mmap_entry": ("sparse entry {d:number} [{x:begin} - {x:end}]", Importer._part),
    "vfio_migration_probe": (" ({name}) Region {d:index}", Importer._probed),
    "vfio_region_mmap": ("Region {title} mmaps[{d:number}] [{x:begin} - {x:end}]", Importer._mapped),
    "vfio_region_unmap": ("Region {title} mmaps[{d:number}] unmap [{x:begin} - {x:end}]", Importer._unmapped),
    "vfio_pci_reset_flr": ("{name} FLR/VFIO_DEVICE_RESET", Importer._reset),
    "vfio_pci_reset_pm": ("{name} PCI PM Reset", Importer._reset),
    "vfio_pci_hot_reset_result": ("{name} hot reset: {result}", Importer._hot_reset),
    "vfio_region_read": (" ({name}:region{d:index}+{x:offset}, {d:length}) = {x:value}", Importer._guest_access),
    "vfio_region_write": (" ({name}:region{d:index}+{x:offset}, {x:value}, {d:length})", Importer._guest_access),
    "vfio_migration_set_state": (" ({name}) state {d:state}", Importer._state),
    "vfio_vmstate_change": (
        " ({name}) running {d:running} reason {reason} device state {d:state}",
        Importer._vm_state,
    ),
    "vfio_update_pending": (" ({name}) pending {x:pending}", Importer._pending),
    "vfio_save_buffer": (" ({name}) Offset {x:offset} size {x:size} pending {x:pending}", Importer._saved),
    "vfio_load_state_device_data": (" ({name}) Offset {x:offset} size {x:size}", Importer._loaded),
    "vfio_migration_state_notifier": (" ({name}) state {state}", Importer._migration),
    "vfio_listener_region_add_ram": ("region_add [ram] {x:begin} - {x:end} [{pointer}]", Importer._dma_mapped),
    "vfio_listener_region_del": ("region_del {x:begin} - {x:end}", Importer._dma_unmapped),
    "vfio_get_dirty_bitmap": (
        "container fd={d:fd}, iova={x:iova} size= {x:size} bitmap_size={x:room} start={x:start}",
        Importer._fetched,
    ),
}
_HANDLERS: Final = {name: (_pattern(text), handler) for name, (text, handler) in _TEXTS.items()}
