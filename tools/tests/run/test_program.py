# SPDX-License-Identifier: GPL-2.0-only
"""The steps of a profile, on a device whose registers are memory."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance import profiles
from vfio_compliance.device import Device, Unreachable
from vfio_compliance.profiles import steps
from vfio_compliance.run import program
from vfio_compliance.run.errors import ProfileFault
from vfio_compliance.sections import PROFILE
from vfio_compliance.transport import Outcome, Target, Transport
from vfio_compliance.transport.base import argument_view
from vfio_compliance.uapi.vfio import VFIO_DEVICE_GET_INFO, VFIO_DEVICE_GET_REGION_INFO, ffi

SIZE = 1 << 16
VARIABLES = {"$value": 0x1122_3344_5566_7788}


class Registers(Transport):
    """A region of memory; accesses past its end fail."""

    takes_pointers = True
    kernel = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.held = bytearray(SIZE)
        self.folder = folder

    def places(self) -> dict[str, str]:
        return {"sysfs": str(self.folder), "name": "it"}

    def identity(self) -> dict[str, str]:
        return {}

    def _open(self) -> None:
        pass

    def _close(self) -> None:
        pass

    def _ioctl(self, target: Target, request: int, argument: Any) -> Outcome:
        view = argument_view(argument)
        assert view is not None
        if request == VFIO_DEVICE_GET_INFO:
            info: Any = ffi.from_buffer("struct vfio_device_info *", view)
            info.num_regions = 1
        elif request == VFIO_DEVICE_GET_REGION_INFO:
            info = ffi.from_buffer("struct vfio_region_info *", view)
            info.size = SIZE
        return Outcome(0, 0)

    def _read(self, region: int, offset: int, length: int) -> tuple[Outcome, bytes]:
        if offset + length > SIZE:
            return Outcome(-1, 5), b""
        return Outcome(length, 0), bytes(self.held[offset : offset + length])

    def _write(self, region: int, offset: int, data: bytes) -> Outcome:
        if offset + len(data) > SIZE:
            return Outcome(-1, 5)
        self.held[offset : offset + len(data)] = data
        return Outcome(len(data), 0)

    def _map(self, region: int, offset: int, length: int) -> mmap.mmap:
        raise NotImplementedError


@pytest.fixture
def transport(tmp_path: Path) -> Registers:
    """The registers of the device."""
    return Registers(tmp_path)


@pytest.fixture
def perform(transport: Registers, tmp_path: Path) -> Callable[..., list[int]]:
    """Runs a list of steps, as written in a profile, and returns their values."""
    device = Device(transport)
    device.open()

    def do(written: str, place: str = "stimulus.visible_state.set", times: int = 1) -> list[int]:
        path = tmp_path / "profile.yaml"
        path.write_text(
            "format: 1\nname: a\ninterfaces: [migration_v1]\n"
            'device: {transport: kernel-group, name: "0", group: 1}\nstimulus:\n  visible_state:\n'
            f"    observe: [read: {{region: 0, offset: 0, width: 4}}]\n    set: [{written}]\n"
        )
        profile = profiles.load(path, PROFILE)
        assert profile.stimulus.visible_state is not None
        for _ in range(times):
            values = program.Programs(device, profile).run(place, profile.stimulus.visible_state.set, VARIABLES)
        return values

    return do


def test_a_computed_value_is_written(perform: Callable[..., list[int]], transport: Registers) -> None:
    perform(
        "{write: {region: 0, offset: 0, width: 4, value: $value >> 32}},"
        "{write: {region: 0, offset: 4, width: 4, value: $value}}"
    )
    assert transport.held[:8] == bytes.fromhex("44332211 88776655")


def test_a_value_that_was_read_is_used_later(perform: Callable[..., list[int]], transport: Registers) -> None:
    transport.held[8] = 3
    values = perform(
        "{read: {region: 0, offset: 8, width: 1, into: $tail}},"
        '{write: {region: 0, offset: "0x100 + $tail * 8", width: 8, value: $tail + 1}},'
        "{wait: {region: 0, offset: 0x118, width: 8, equals: $tail + 1, within: 1s}}"
    )
    assert values == [3]
    assert transport.held[0x118] == 4


def test_now_is_the_time_of_the_step(perform: Callable[..., list[int]], transport: Registers) -> None:
    before = int(time.time())
    perform("{write: {region: 0, offset: 0, width: 8, value: $now + 5}}")
    assert before + 5 <= int.from_bytes(transport.held[:8], "little") <= time.time() + 5


def test_count_is_the_number_of_runs_of_the_list(perform: Callable[..., list[int]], transport: Registers) -> None:
    perform("{write: {region: 0, offset: 0, width: 1, value: $count}}", times=3)
    assert transport.held[0] == 3


def test_a_mask_clears_the_other_bits(perform: Callable[..., list[int]], transport: Registers) -> None:
    transport.held[0:2] = b"\xff\x12"
    assert perform("{read: {region: 0, offset: 0, width: 2, mask: 0xf00}}") == [0x200]


def test_fill_and_digest(perform: Callable[..., list[int]], transport: Registers) -> None:
    """Another value gives another pattern, and a single byte changes the digest."""
    fill = "{fill: {region: 0, offset: 16, size: 5000, at_once: 512, value: $value + %d}},"
    digest = "{digest: {region: 0, offset: 16, size: 5000}}"
    (one,) = perform(fill % 0 + digest)
    assert (transport.held[15], transport.held[5016]) == (0, 0)
    assert transport.held[16:5016].count(0) < 100
    (two,) = perform(fill % 1 + digest)
    transport.held[5015] ^= 1
    (three,) = perform(digest)
    assert len({one, two, three}) == 3
    assert perform(fill % 0 + digest) == [one]


def test_files_are_written_and_read(perform: Callable[..., list[int]], tmp_path: Path, transport: Registers) -> None:
    (tmp_path / "pin").write_text("old and longer than what comes")
    values = perform(
        '{write_file: {path: "{sysfs}/pin", text: "{$value >> 32:#x} 7"}},'
        '{read_file: {path: "{sysfs}/pin"}},'
        '{write_file: {path: "{sysfs}/pin", text: "12\\n"}},'
        '{read_file: {path: "{sysfs}/pin", into: $pinned}},'
        '{wait_file: {path: "{sysfs}/pin", text: "{$pinned}", within: 1s}}'
    )
    assert (tmp_path / "pin").read_text() == "12\n"
    assert values[1] == 12
    assert values[0] > 1 << 32  # a text that is not a number gives a number of 64 bits
    recorded = [(call.verb, call.target, call.sent or call.received) for call in transport.tracer.calls][-5:]
    assert recorded[0] == ("write-file", f"{tmp_path}/pin", b"0x11223344 7")
    assert recorded[3] == ("read-file", f"{tmp_path}/pin", b"12\n")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("{read: {region: 0, offset: 0xfffe, width: 4}}", "EIO"),
        ("{read: {region: 7, offset: 0, width: 4}}", "looking for region 7"),
        ("{wait: {region: 0, offset: 0, width: 4, mask: 2, equals: 2, within: 10ms}}", "0x2 under mask 0x2"),
        ('{read_file: {path: "{sysfs}/nothing"}}', "ENOENT"),
        ('{read_file: {path: "{sysfs}"}}', "not a regular file"),
        ('{write_file: {path: "{sysfs}", text: a}}', "EISDIR"),
        ('{read_file: {path: "/dev/zero"}}', "not a regular file"),
        ('{write_file: {path: "/proc/version", text: a}}', "E"),
        ('{wait_file: {path: "/proc/version", text: a, within: 10ms}}', "waiting on the file /proc/version"),
    ],
)
def test_a_step_that_fails_breaks_no_rule(perform: Callable[..., list[int]], step: str, message: str) -> None:
    """The message names the list of the profile."""
    with pytest.raises(Unreachable, match=message) as caught:
        perform(step)
    assert "by stimulus.visible_state.set of the profile" in str(caught.value) or "waiting" in str(caught.value)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("{write: {region: 0, offset: 0, width: 4, value: 1 // ($value - $value)}}", "divides by zero"),
        ("{write: {region: 0, offset: 0, width: 4, value: 1 << $value}}", "a shift by"),
        ("{read: {region: 0, offset: 1 - $value, width: 4}}", "the offset `1 - .value` is -"),
    ],
)
def test_an_impossible_step_is_a_profile_fault(perform: Callable[..., list[int]], step: str, message: str) -> None:
    with pytest.raises(ProfileFault, match=message) as caught:
        perform(step)
    assert "profile.yaml:8:" in str(caught.value)


def test_every_kind_of_step_is_implemented() -> None:
    """Each word of the format has an implementation."""
    kinds = {getattr(kind, "cls", steps.CallAction) for kind in steps._STEPS.values()}
    assert kinds == set(program._DOERS)
