# SPDX-License-Identifier: GPL-2.0-only
"""Cases of the proxy: how much longer a client waits with the recorder in between."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from measuring import Case, Cost, Effort, Row, beside, interleaved, repeated
from targets import OURS, c_program, connected, in_c, serving, started
from vfio_compliance.migration_v1.region import REGION_TYPE
from vfio_compliance.uapi.migration_v1 import DEVICE_STATE

#: The device memory of the reference device.
_MEMORY = 2
_LARGE = 64 << 10

#: Calls in a round.
_CALLS = 400

#: The largest ratio of the time of a call through the proxy to that of a direct one.
_AIM = 2.0


def cases(effort: Effort) -> list[Case]:
    """All of them."""
    return [
        Case("register read through the proxy", partial(_through, effort, "register", None, DEVICE_STATE.width)),
        Case("64 KiB read through the proxy", partial(_through, effort, "64 KiB", _MEMORY, _LARGE)),
    ]


def _through(effort: Effort, what: str, region: int | None, length: int) -> Sequence[Row]:
    """Reads at the start of a region (None: the migration region), by a client in C and by ours."""
    with tempfile.TemporaryDirectory() as name:
        there, proxy, relay = (Path(name, word) for word in ("there", "proxy", "relay"))
        recorder = [
            *OURS,
            "proxy",
            "--listen",
            str(proxy),
            "--connect",
            str(there),
            "--trace",
            str(Path(name, "trace")),
        ]
        with (
            serving(there),
            started(recorder, proxy),
            started(c_program("relay", relay, there), relay),
        ):
            with connected(there) as device:
                index = device.regions_of_type(REGION_TYPE)[0].index if region is None else region

            def ours(socket: Path) -> Cost:
                with connected(socket) as device:
                    transport = device.transport
                    return repeated(partial(transport.read, index, 0, length), _CALLS, transport.tracer.forget)

            def in_c_over(socket: Path) -> Cost:
                return in_c("client", socket, "read", index, length, _CALLS)[0]

            costs = interleaved(
                {
                    "proxied": partial(in_c_over, proxy),
                    "direct": partial(in_c_over, there),
                    "a relay in C": partial(in_c_over, relay),
                    "ours, proxied": partial(ours, proxy),
                    "ours, direct": partial(ours, there),
                },
                effort,
            )
    name = f"{what} read through the proxy"
    return [
        beside(f"{name}, by a C client", costs, "proxied", "direct", aim=_AIM),
        beside(f"{name}, by a C client", costs, "proxied", "a relay in C"),
        beside(f"{name}, by our client", costs, "ours, proxied", "ours, direct", aim=_AIM),
    ]
