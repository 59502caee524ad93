# SPDX-License-Identifier: GPL-2.0-only
"""The model of what the text allows: what it follows, what it leaves open, and what it forbids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import pytest

from vfio_compliance.migration_v1.model import Answer, Deviation, DeviceModel, Layout
from vfio_compliance.uapi.migration_v1 import DeviceState

RUNNING, STOP, PRE_COPY = DeviceState.RUNNING, DeviceState.STOP, DeviceState.PRE_COPY
STOP_AND_COPY, RESUMING, ERROR = DeviceState.STOP_AND_COPY, DeviceState.RESUMING, DeviceState.ERROR

#: A region of two pages, the second of which may be mapped.
LAYOUT = Layout(0x2000, [(0x1000, 0x1000)], 0x1000)
PLACE = 0x1000

TAKEN, REFUSED = Answer(4), Answer(-1)
DATA = bytes(range(8))


#: A verb of the model, and what it is given.
Told: TypeAlias = tuple[Any, ...]


def number(value: int, width: int = 8) -> Answer:
    """What a register reads."""
    return Answer(width, value.to_bytes(width, "little"))


def state(value: int) -> Answer:
    """What device_state reads."""
    return number(value, 4)


def to(value: int, answer: Answer = TAKEN) -> tuple[str, int, Answer]:
    """A write of device_state."""
    return ("write_state", value, answer)


def offered(data: bytes = DATA, left: int = 8) -> list[tuple[str, Answer]]:
    """The steps of reading a buffer, up to its data."""
    return [("read_pending", number(left)), ("read_offset", number(PLACE)), ("read_size", number(len(data)))]


def read(data: bytes = DATA, at: int = PLACE) -> tuple[str, int, int, Answer]:
    """A read of the data."""
    return ("read_data", at, len(data), Answer(len(data), data))


#: A state of two buffers, read to its end.
SAVED = [to(STOP_AND_COPY), *offered(left=16), read(), *offered(), read(), ("read_pending", number(0))]

#: The first of them, given back.
GIVEN = [("read_offset", number(PLACE)), ("write_data", PLACE, DATA, Answer(8)), ("write_size", 8, Answer(8))]

RESTORED = [*SAVED, ("reset", Answer(0)), to(RESUMING), *GIVEN, *GIVEN]


def tell(model: DeviceModel, verb: Any, *told: Any) -> None:
    """One thing that was done."""
    getattr(model, verb)(*told)


def follow(steps: Sequence[Told]) -> DeviceModel:
    """A model that was told all of it."""
    model = DeviceModel(LAYOUT)
    for verb, *told in steps:
        tell(model, verb, *told)
    return model


ALLOWED = {
    "drawn": [to(PRE_COPY), to(STOP_AND_COPY), to(STOP), ("read_state", state(STOP))],
    "reserved bits read as anything": [("read_state", state(RUNNING | 0x80))],
    "undrawn, taken": [to(STOP), to(RUNNING), ("read_state", state(RUNNING))],
    "undrawn, refused": [to(STOP), to(RUNNING, REFUSED), ("read_state", state(STOP))],
    "refused with the error state": [to(ERROR, REFUSED), ("read_state", state(ERROR)), ("read_pending", REFUSED)],
    "reserved bits, refused": [to(STOP | 0x100, REFUSED), ("read_state", state(RUNNING))],
    "reset out of error": [to(ERROR, REFUSED), ("read_state", state(ERROR)), ("reset", Answer(0)), to(STOP)],
    "error outlives closing": [to(7, REFUSED), ("reopened",), ("read_state", state(ERROR))],
    "an odd access refused": [("access_oddly", REFUSED), ("read_state", state(RUNNING))],
    "a read-only write refused": [("write_read_only", REFUSED), ("read_state", state(RUNNING))],
    "saved": [*SAVED, ("read_pending", number(0)), to(STOP)],
    "left in the middle of a buffer": [to(STOP_AND_COPY), *offered(), read(DATA[:3]), to(STOP)],
    "none in pre-copy, then some": [to(PRE_COPY), ("read_pending", number(0)), ("read_pending", number(8))],
    "a short read": [to(PRE_COPY), *offered(), ("read_data", PLACE, 8, Answer(3, DATA[:3])), read(DATA[3:], PLACE + 3)],
    "read again": [to(PRE_COPY), *offered(), read(), *offered()[1:], read(DATA[4:], PLACE + 4)],
    "anything once the order was left": [to(PRE_COPY), *offered(), ("read_pending", number(1)), ("read_size", REFUSED)],
    "a read off the buffer refused": [*SAVED[:4], ("read_data", 0x20, 8, REFUSED), ("read_state", state(ERROR))],
    "data_offset unasked for": [to(STOP_AND_COPY), ("read_offset", REFUSED), ("read_state", state(STOP_AND_COPY))],
    "saved live": [to(PRE_COPY), *offered(), read(), ("read_pending", number(1)), *SAVED, to(STOP)],
    "restored": [*RESTORED, to(RUNNING)],
    "half a state": [*RESTORED[:-3], to(RUNNING, REFUSED), ("read_state", state(RESUMING))],
    "half a state, taken": [*RESTORED[:-3], to(RUNNING), ("read_state", state(RUNNING))],
    "garbage, taken, then error": [*RESTORED[:-3], ("write_size", 5, Answer(8)), ("read_state", state(ERROR))],
    "nothing to resume from": [to(RESUMING), to(RUNNING, REFUSED), ("read_state", state(ERROR))],
    "a place for more than there is, refused": [*RESTORED, ("read_offset", REFUSED), ("read_state", state(ERROR))],
    "data applied as it comes": [*RESTORED[:-2], ("sampled", 5), GIVEN[1], ("sampled", 6)],
    "begun by an undrawn transition": [to(STOP), *SAVED, ("reset", Answer(0)), to(RESUMING), to(RUNNING, REFUSED)],
    "stands still": [to(STOP), ("sampled", 5), ("sampled", 5)],
    "runs again": [to(STOP), ("sampled", 5), ("reset", Answer(0)), ("sampled", 9)],
}


@pytest.mark.parametrize("steps", ALLOWED.values(), ids=ALLOWED)
def test_allowed(steps: Sequence[Told]) -> None:
    """What the text says or leaves open is no deviation, and the model goes on."""
    follow(steps).read_reserved(number(0, 4))


FORBIDDEN = {
    "drawn, refused": ([], to(STOP, REFUSED), "success"),
    "short write": ([], to(STOP, Answer(2)), "success"),
    "short refusal": ([], to(7, Answer(2)), "an error"),
    "invalid, taken": ([], to(5), "an error"),
    "error written": ([to(STOP)], to(ERROR), "an error"),
    "made to fail, taken": ([], ("write_state", STOP, TAKEN, True), "an error"),
    "out of error by writing": ([to(7, REFUSED), ("read_state", state(ERROR))], to(RUNNING), "an error"),
    "another state": ([to(STOP)], ("read_state", state(STOP_AND_COPY)), "stop"),
    "error out of nothing": ([to(STOP)], ("read_state", state(ERROR)), "stop"),
    "invalid after a refusal": ([to(7, REFUSED)], ("read_state", state(7)), "running or error"),
    "reset refused": ([to(STOP)], ("reset", REFUSED), "success"),
    "reset elsewhere": ([to(STOP), ("reset", Answer(0))], ("read_state", state(STOP)), "running"),
    "odd access": ([], ("access_oddly", Answer(1)), "an error"),
    "reserved not zero": ([], ("read_reserved", number(1, 4)), "0"),
    "reserved refused": ([], ("write_reserved", REFUSED), "4 bytes taken"),
    "pending refused": ([to(PRE_COPY)], ("read_pending", REFUSED), "8 bytes"),
    "pending vanishes": ([*SAVED[:2]], ("read_pending", number(0)), "more than 0, as before"),
    "pending returns": (SAVED, ("read_pending", number(8)), "0, as before"),
    "offset refused": (SAVED[:2], ("read_offset", REFUSED), "0x20 to 0x1fff, aligned"),
    "offset at a register": (SAVED[:2], ("read_offset", number(24)), "0x20 to 0x1fff, aligned"),
    "offset off a page": (SAVED[:2], ("read_offset", number(PLACE + 8)), "0x20 to 0x1fff, aligned"),
    "offset moves": (SAVED[:3], ("read_offset", number(0x20)), "0x1000, as before"),
    "no size": (SAVED[:3], ("read_size", number(0)), "1 to 4096"),
    "too much": (SAVED[:3], ("read_size", number(4097)), "1 to 4096"),
    "size changes": (SAVED[:4], ("read_size", number(7)), "8, as before"),
    "data refused": (SAVED[:4], ("read_data", PLACE + 4, 2, REFUSED), "data"),
    "data changes": (SAVED[:5], read(DATA[::-1]), "the same bytes as before"),
    "offset moves while resuming": ([to(RESUMING), GIVEN[0]], ("read_offset", number(0x20)), "0x1000, as before"),
    "no room while resuming": ([to(RESUMING)], ("read_offset", REFUSED), "0x20 to 0x1fff, aligned"),
    "data not taken": (RESTORED[:-2], ("write_data", PLACE, DATA, REFUSED), "bytes taken"),
    "buffer not taken": (RESTORED[:-1], ("write_size", 8, REFUSED), "8 bytes taken"),
    "whole state refused": (RESTORED, to(RUNNING, REFUSED), "success"),
    "works while stopped": ([to(STOP), ("sampled", 5)], ("sampled", 6), "0x5, as before"),
}


@pytest.mark.parametrize(("steps", "last", "expected"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_forbidden(steps: Sequence[Told], last: Told, expected: str) -> None:
    """What the text forbids is a deviation, which says what is expected."""
    model = follow(steps)
    with pytest.raises(Deviation) as caught:
        tell(model, *last)
    assert caught.value.expected == expected


def test_what_was_saved_is_seen_again() -> None:
    """After a restore the device shows what it showed when it was saved; after half a restore, nobody knows what."""
    model = DeviceModel(LAYOUT)
    model.visible = [7]
    for verb, *told in [*RESTORED, to(RUNNING)]:
        tell(model, verb, *told)
    assert model.shown([7]) == "as before"
    with pytest.raises(Deviation):
        model.shown([8])
    assert follow([*RESTORED[:-3], to(RUNNING)]).shown([8]) == "any answer"


def test_a_change_that_is_refused_was_under_way() -> None:
    """Who reads device_state meanwhile may see that."""
    assert follow([to(STOP), to(RUNNING, REFUSED)]).changes == 2


LIVE = [to(PRE_COPY), *offered(b"x"), read(b"x")]


@pytest.mark.parametrize(
    ("told", "stream"), [([("read_pending", number(1))], (b"x", DATA, DATA)), ([], ())], ids=["told", "not told"]
)
def test_what_pre_copy_gave_out_is_part_of_the_state(
    told: Sequence[tuple[str, Answer]], stream: tuple[bytes, ...]
) -> None:
    """As far as the device was told that it was read: of a buffer just read nobody knows whether it comes again."""
    assert follow([*LIVE, *told, *SAVED]).stream == stream
