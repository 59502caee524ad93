# SPDX-License-Identifier: GPL-2.0-only
"""The values of device_state and the transitions that the specification draws (kabi v23:78-124)."""

from __future__ import annotations

STOP = 0b000
RUNNING = 0b001
STOP_AND_COPY = 0b010
PRE_COPY = 0b011
RESUMING = 0b100
ERROR = 0b110

RUNNING_BIT = 0b001
STATE_BITS = 0b111

STATES = (STOP, RUNNING, STOP_AND_COPY, PRE_COPY, RESUMING)
SAVING = (PRE_COPY, STOP_AND_COPY)

DRAWN = frozenset(
    {
        (RUNNING, STOP),
        (RUNNING, STOP_AND_COPY),
        (RUNNING, PRE_COPY),
        (PRE_COPY, STOP_AND_COPY),
        (STOP_AND_COPY, STOP),
        (RUNNING, RESUMING),
        (RESUMING, RUNNING),
    }
)
