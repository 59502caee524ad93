# SPDX-License-Identifier: GPL-2.0-only
"""The numbers beside an axis: few, round, and in a unit that keeps them short."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

_BINARY: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
_TIMES: Final = ((60_000.0, "min"), (1000.0, "s"), (1.0, "ms"), (0.001, "us"))

#: The fewest steps of an axis, and the allowed steps, as a part of a power of ten, or of two for bytes.
_STEPS: Final = 3
_ROUND: Final = (5.0, 2.5, 2.0, 1.0)


class Scale(NamedTuple):
    """An axis from 0 to ``most``, which is more than 0."""

    most: float
    ticks: Sequence[tuple[float, str]]


def scale(largest: float, kind: str) -> Scale:
    """A scale for values up to ``largest``, of the kind "ms", "bytes" or "bytes a second"."""
    largest = max(largest, 0.001 if kind == "ms" else 1.0)
    units = _TIMES if kind == "ms" else _BINARY
    unit, name = next((each for each in units if largest >= each[0]), units[-1])
    step = _step(largest / unit) * unit
    number = math.ceil(largest / step - 1e-9)
    after = "/s" if kind == "bytes a second" else ""
    return Scale(number * step, [(at * step, f"{at * step / unit:.4g} {name}{after}") for at in range(number + 1)])


def _step(largest: float) -> float:
    power = 10.0 ** math.floor(math.log10(largest))
    return next(step * power for step in (*_ROUND, 0.5, 0.25, 0.2) if largest / (step * power) >= _STEPS)
