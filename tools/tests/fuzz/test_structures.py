# SPDX-License-Identifier: GPL-2.0-only
"""Information structures with any content and any capability chains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import cast

from campaign import Campaign
from hostile_server import region_info, type1_info
from mutation import mutate

from vfio_compliance.clients.record import Recording
from vfio_compliance.clients.trace import Reader, Writer
from vfio_compliance.device import ContainerInfo, DeviceError, Region
from vfio_compliance.device.capability import parse_chain
from vfio_compliance.transport import Transport
from vfio_compliance.transport.vfio_user.observer import Moment
from vfio_compliance.uapi.vfio import RegionFlags


def test_chains(campaign: Callable[[str, str], Campaign], tmp_path: Path) -> None:
    """A chain is read to its end or refused; the recorder of it writes a trace that can be read."""
    counted = campaign("chains", "absurd_structures")
    path = tmp_path / "trace"
    recording = Recording(Writer(path, "random information", maps_seen=False))

    def trial(rng: Random) -> None:
        about_region = rng.random() < 0.5
        info = region_info(rng, bytes(8) + rng.randrange(5).to_bytes(4, "little")) if about_region else type1_info(rng)
        fixed = 32 if about_region else 24
        if rng.random() < 0.5:
            info = mutate(rng, info)[1].ljust(fixed, b"\0")
        counted.add_input("region" if about_region else "container", info)
        try:
            if about_region:
                recording.region(Moment(0, 1), info, rng.random() < 0.5)
                _use_region(info)
            else:
                _use_container(info)
        except DeviceError as error:
            counted.add_outcome(type(error).__name__)
        else:
            counted.add_outcome("read")

    counted.run(2000, trial)
    recording.finish()
    *records, end = Reader(path)
    assert end.verb == "end"
    assert all(record.about for record in records)


def _use_region(info: bytes) -> None:
    flags, first = RegionFlags(int.from_bytes(info[4:8], "little")), int.from_bytes(info[12:16], "little")
    links = parse_chain("asking", info, first, 32) if RegionFlags.CAPS in flags else []
    assert len(links) <= len(info)
    region = Region(cast(Transport, None), 0, int.from_bytes(info[16:24], "little"), flags, links)
    assert len(region.areas) <= 1 + len(info) // 16
    assert region.type is None or max(region.type) < 1 << 32


def _use_container(info: bytes) -> None:
    read = ContainerInfo.parse(info)
    assert read.migration is None or read.migration.max_dirty_bitmap_size < 1 << 64
    assert len(read.iova_ranges or ()) <= len(info) // 16
