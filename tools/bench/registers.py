# SPDX-License-Identifier: GPL-2.0-only
"""Cases of single calls: register accesses by transport, and requests with many argsz."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from measuring import Case, Clock, Cost, Effort, Row, Way, beside, interleaved, repeated
from targets import connected, in_c, migration_of, reference
from vfio_compliance.device import Device
from vfio_compliance.migration_v1.region import REGION_TYPE
from vfio_compliance.transport import KernelGroupSettings, Target
from vfio_compliance.transport.kernel_group import KernelGroup
from vfio_compliance.uapi.migration_v1 import DEVICE_STATE
from vfio_compliance.uapi.vfio import VFIO_DEVICE_GET_INFO

#: Calls in a round.
_CALLS = 500

#: Too small, just enough, odd, and far too large; the structure has 16 bytes.
_ARGSZ = (0, 1, 4, 8, 12, 15, 16, 17, 20, 24, 31, 32, 63, 64, 256, 4096, 65536, 2**31, 2**32 - 1)
_INFORMATION = f"GET_INFO with {len(_ARGSZ)} argsz"

#: SCRATCH0 of the reference device, in region 0: eight bytes of plain storage.
_SCRATCH = 0x28

#: The reference device behind a kernel (profiles/refdriver-kernel.yaml).
_MODULE = Path("/sys/bus/platform/devices/vfio_refdriver.0")

#: The largest ratio of the processor time of a traced register access to that of a bare one.
_AIM = 1.3

#: One request to a driver, through an open device.
_Ask = Callable[[], object]


def cases(effort: Effort) -> list[Case]:
    """All of them."""
    return [
        Case("register read, vfio-user", partial(_read, effort)),
        Case("register write, vfio-user", partial(_write, effort)),
        Case("register read, kernel", partial(_read_kernel, effort)),
        Case(_INFORMATION, partial(_information, effort)),
    ]


def _way(socket: Path, asking: Callable[[Device], _Ask], times: int = _CALLS, each: int = 1) -> Way:
    """Opens the device and measures the requests of ``asking``, each with ``each`` calls; the trace is discarded."""

    def measure() -> Cost:
        with connected(socket) as device:
            cost = repeated(asking(device), times, device.transport.tracer.forget)
            return Cost(cost.wall / each, cost.cpu / each)

    return measure


def _read(effort: Effort) -> Sequence[Row]:
    name = "register read, vfio-user"
    _, offset, width = DEVICE_STATE
    with reference() as socket:
        with connected(socket) as device:
            index = device.regions_of_type(REGION_TYPE)[0].index
        costs = interleaved(
            {
                "ours": _way(socket, lambda device: partial(device.transport.read, index, offset, width)),
                "bare": _way(socket, lambda device: partial(device.transport._read, index, offset, width)),
                "state": _way(socket, lambda device: migration_of(device).state),
                "C": lambda: in_c("client", socket, "read", index, width, _CALLS)[0],
            },
            effort,
        )
    return [
        beside(name, costs, "ours", "bare", Clock.CPU, aim=_AIM),
        beside(name, costs, "ours", "C", Clock.CPU),
        beside(name, costs, "ours", "C"),
        beside("MigrationRegion.state(), vfio-user", costs, "state", "C"),
    ]


def _write(effort: Effort) -> Sequence[Row]:
    value = bytes(range(8))
    with reference() as socket:
        costs = interleaved(
            {
                "ours": _way(socket, lambda device: partial(device.transport.write, 0, _SCRATCH, value)),
                "bare": _way(socket, lambda device: partial(device.transport._write, 0, _SCRATCH, value)),
            },
            effort,
        )
    return [beside("register write, vfio-user", costs, "ours", "bare", Clock.CPU, aim=_AIM)]


def _read_kernel(effort: Effort) -> Sequence[Row]:
    name = "register read, kernel"
    if not Path("/dev/vfio/vfio").exists():
        return [Row(name, "C", Clock.CPU, aim=_AIM, note="not here: there is no /dev/vfio/vfio")]
    if not _MODULE.exists():
        return [Row(name, "C", Clock.CPU, aim=_AIM, note="not here: the module vfio_refdriver is not loaded")]
    transport = KernelGroup(KernelGroupSettings(name=_MODULE.name, group=None, sysfs=str(_MODULE)))
    device = Device(transport)
    device.open()
    try:
        index = device.regions_of_type(REGION_TYPE)[0].index
        _, offset, width = DEVICE_STATE
        descriptor, position = transport._device, transport._regions[index].offset + offset
        costs = interleaved(
            {
                "ours": lambda: repeated(
                    partial(transport.read, index, offset, width), _CALLS, transport.tracer.forget
                ),
                "bare": lambda: repeated(partial(transport._read, index, offset, width), _CALLS),
                "C": lambda: in_c("kernel", descriptor, position, _CALLS, pass_fds=[descriptor])[0],
            },
            effort,
        )
    finally:
        transport.shutdown()
    return [
        beside(name, costs, "ours", "bare", Clock.CPU, aim=_AIM),
        beside(name, costs, "ours", "C", Clock.CPU),
    ]


def _information(effort: Effort) -> Sequence[Row]:
    times = max(1, _CALLS // len(_ARGSZ))
    arguments = [argsz.to_bytes(4, "little") + bytes(12) for argsz in _ARGSZ]

    def asking(device: Device, *, bare: bool = False) -> _Ask:
        ioctl = device.transport._ioctl if bare else device.transport.ioctl

        def ask() -> None:
            for argument in arguments:
                ioctl(Target.DEVICE, VFIO_DEVICE_GET_INFO, bytearray(argument))

        return ask

    with reference() as socket:
        costs = interleaved(
            {
                "ours": _way(socket, asking, times, len(_ARGSZ)),
                "bare": _way(socket, partial(asking, bare=True), times, len(_ARGSZ)),
                "C": lambda: in_c("client", socket, "info", times, *_ARGSZ)[0],
            },
            effort,
        )
    return [
        beside(_INFORMATION, costs, "ours", "bare", Clock.CPU, aim=_AIM),
        beside(_INFORMATION, costs, "ours", "C"),
    ]
