# SPDX-License-Identifier: GPL-2.0-only
"""Restored data compared with saved data, even if the trace does not show everything."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from clients import (
    BASE,
    CLOSE,
    GAP,
    OPEN,
    PRE_COPY,
    RESUMING,
    RUNNING,
    STOP,
    STOP_AND_COPY,
    Judged,
    gave,
    got,
    judged,
    moved,
    offset,
    pending,
    resumed,
    saved,
    size,
    to,
    write,
)

from vfio_compliance.migration_v1.client import Judge, stream
from vfio_compliance.migration_v1.client.history import ELSEWHERE
from vfio_compliance.migration_v1.client.saving import UNSEEN
from vfio_compliance.run.client import Access
from vfio_compliance.uapi.migration_v1 import DATA_SIZE, DeviceState

A, B, C = b"a" * 100, b"b" * 100, b"c" * 50
MAPPED = Access("map", BASE, 0x1000)
RESTORED = ("RSM-05", "RSM-06", "RSM-07")


def counts(result: Judged) -> list[tuple[int, int]]:
    """The number of times that each clause of restoring was kept and broken."""
    return [result[clause] for clause in RESTORED]


def pieces(verb: str, content: bytes, *cuts: int) -> list[Access]:
    """Content moved in several accesses."""
    ends = [*cuts, len(content)]
    return [moved(verb, content[a:b], BASE + a) for a, b in zip([0, *cuts], ends, strict=True)]


def taken(content: bytes, *cuts: int) -> list[Access]:
    """One buffer saved in pieces."""
    return [pending(9), offset(), size(len(content)), *pieces("read", content, *cuts)]


def given(content: bytes, *cuts: int) -> list[Access]:
    """One buffer given in pieces."""
    return [offset(), *pieces("write", content, *cuts), write(DATA_SIZE, len(content))]


def suspend(*steps: Access) -> list[Access]:
    """A device saved by these steps, and stopped."""
    return [OPEN, *to(RUNNING, STOP_AND_COPY), *steps, pending(0), *to(STOP_AND_COPY, STOP)]


def resume(*steps: Access) -> list[Access]:
    """A device that takes a state by these steps, and runs."""
    return [OPEN, *to(RUNNING, RESUMING), *steps, *to(RESUMING, RUNNING)]


def test_source_in_another_trace() -> None:
    """Data that another client saved counts as if it were in the same trace."""
    source = judged(saved(A, B)).judge.saved
    assert counts(judged(resumed(A, B), source=source)) == [(2, 0)] * 3
    assert judged(resumed(B, A), source=source).clauses == ["RSM-05"]


def test_no_saved_data() -> None:
    """Then nothing is judged, and the result says so."""
    result = judged(resumed(A, B))
    assert counts(result) == [(0, 0)] * 3
    assert {clause: list(why) for clause, why in result.judge.unclear.items()} == {key: [ELSEWHERE] for key in RESTORED}


def test_any_saved_state_may_be_restored() -> None:
    """But completely, and only one of them."""
    assert judged(saved(A), saved(B), resumed(B)).offences == []
    assert judged(saved(A), saved(B), resumed(A)).offences == []
    assert judged(saved(A), saved(B), resumed(A, B)).clauses == ["RSM-05"]
    assert judged(saved(A), saved(B, C), resumed(B)).clauses == ["RSM-05"]


def test_equal_buffers_are_no_disorder() -> None:
    """Buffers with the same content are distinguished by their position."""
    assert judged(saved(A, A, B, A), resumed(A, A, B, A)).offences == []
    assert judged(saved(A, A, B), resumed(A, B)).clauses == ["RSM-05"]


@pytest.mark.parametrize("first", [(), (40,), (8, 16, 24, 64)], ids=str)
@pytest.mark.parametrize("second", [(), (50,), (8, 16, 24, 64)], ids=str)
def test_pieces_do_not_matter(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    """A buffer in short pieces is the same as a whole one."""
    result = judged(suspend(*taken(A, *first)), resume(*given(A, *second)))
    assert result.offences == []
    assert counts(result) == [(1, 0)] * 3


@pytest.mark.parametrize(("first", "second", "known"), [((90,), (90,), 1), ((90,), (), 0), ((1,), (90,), 0)], ids=str)
def test_pieces_may_hide_the_content(first: tuple[int], second: tuple[int, ...], known: int) -> None:
    """Long pieces can only be compared with equal ones; otherwise, the content is not judged."""
    result = judged(suspend(*taken(A, *first)), resume(*given(A, *second)))
    assert result.offences == []
    assert counts(result) == [(known, 0), (1, 0), (known, 0)]


def test_changed_in_one_piece() -> None:
    """A byte that differs is found if the content is known, in pieces or not."""
    changed = A[:70] + b"!" + A[71:]
    assert judged(suspend(*taken(A, 40)), resume(*given(changed, 40))).clauses == ["RSM-07"]
    assert judged(suspend(*taken(A)), resume(*given(changed, 40))).clauses == ["RSM-07"]
    assert judged(suspend(*taken(A, 10)), resume(*given(changed, 10))).clauses == ["RSM-07"]


def test_unknown_content_is_not_judged() -> None:
    """Data without a digest is judged only by its size."""
    bare = [access._replace(digest="") for access in suspend(*taken(A))]
    result = judged(bare, resume(*given(A)))
    assert counts(result) == [(0, 0), (1, 0), (0, 0)]
    assert set(result.judge.unclear) == {"RSM-05", "RSM-07"}


def test_mapped_data_is_not_held_against_a_client() -> None:
    """If the client may have used a mapping, missing data is not an offence; the result says that it was not seen."""
    client = [
        *(OPEN, MAPPED, *to(RUNNING, STOP_AND_COPY), pending(9), offset(), size(100), pending(9), offset(), size(50)),
        *(
            pending(0),
            *to(STOP_AND_COPY, STOP),
            *resume(MAPPED, offset(), write(DATA_SIZE, 100), offset(), write(DATA_SIZE, 50)),
        ),
    ]
    result = judged(client)
    assert result.offences == []
    assert result["RSM-06"] == (2, 0)
    assert result["RSM-07"] == (0, 0)
    assert UNSEEN in result.judge.unclear["FLD-04"]
    without = [access for access in client if access.verb != "map"]
    assert set(judged(without).clauses) == {"SAV-11", "FLD-06"}


def test_sizes_of_mapped_buffers_are_judged() -> None:
    """A buffer restored with another size is an offence, even if its data was not seen."""
    source = judged(suspend(MAPPED, pending(9), offset(), size(100))).judge.saved
    client = resume(MAPPED, offset(), write(DATA_SIZE, 50))
    assert judged(client, source=source).clauses == ["RSM-06"]


def test_a_mapping_ends_with_the_device() -> None:
    """The next client does not have the mapping."""
    client = [OPEN, MAPPED, CLOSE, OPEN, *to(RUNNING, STOP_AND_COPY), pending(9), offset(), size(100), pending(9)]
    assert judged(client).clauses == ["SAV-11"]


def test_a_gap_hides_what_was_saved() -> None:
    """If accesses are missing, the saved state is unknown, and nothing is compared with it."""
    client = [OPEN, *to(RUNNING, STOP_AND_COPY), pending(9), *got(A), GAP, pending(9), *got(B), pending(0)]
    assert judged(client, to(STOP_AND_COPY, STOP), resumed(A, B)).offences == []


def test_memory_does_not_grow_with_the_state() -> None:
    """Thousands of buffers, or of pieces of one, cost no more than about two hundred bytes each."""

    def long_save() -> Iterator[Access]:
        yield from suspend()[:3]
        for number in range(5_000):
            content = number.to_bytes(8, "little")
            yield from (pending(9), *got(content))
        yield from (pending(9), offset(), size(10_000))
        for at in range(0, 10_000, 2):
            yield moved("read", b"x", BASE + at)

    judge = Judge()
    tracemalloc.start()
    try:
        for access in long_save():
            judge.take(access)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert judge.kept["SAV-11"] == 5_000
    assert peak < 2 << 20


def test_too_many_buffers_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """If there are more than the judge remembers, only the first ones are compared, and the result says so."""
    monkeypatch.setattr(stream, "MOST_BUFFERS", 2)
    result = judged(saved(A, B, C), resumed(A, B, A))
    assert result.offences == []
    assert set(result.judge.unclear) == set(RESTORED)
    assert judged(saved(A, B, C), resumed(B, A, C)).clauses == ["RSM-05"]


def test_a_state_restored_twice() -> None:
    """A buffer given again after the device ran is a new state; before that, it is an offence."""
    assert judged(saved(A), resumed(A), resumed(A)).offences == []
    assert judged(saved(A), OPEN, to(RUNNING, RESUMING), gave(A), gave(A)).clauses == ["RSM-05"]


@pytest.mark.parametrize("second", [b"d" * 100, b"d" * 30], ids=["content", "size"])
def test_buffers_of_two_states(second: bytes) -> None:
    """Each of two states may be restored, but no mixture, whether they differ in content or in size."""
    both = [*suspend(*taken(A), *taken(B)), *to(STOP, RUNNING), *suspend(*taken(C), *taken(second))[1:]]
    source = judged(both).judge.saved
    assert judged(resume(*given(A), *given(B)), source=source).clauses == []
    assert judged(resume(*given(C), *given(second)), source=source).clauses == []
    (offence,) = judged(resume(*given(A), *given(second)), source=source).offences
    assert (offence.clause, "part of another one" in offence.seen) == ("RSM-05", True)


@pytest.mark.parametrize("way", [[RUNNING], [PRE_COPY], [STOP, RUNNING], [STOP, PRE_COPY]], ids=str)
def test_a_state_is_restored_before_the_device_runs(way: Sequence[DeviceState]) -> None:
    """All of it, if the device runs, at once or from stop; not if it is closed before."""
    source = judged(suspend(*taken(A), *taken(B))).judge.saved
    on = [access for before, after in pairwise([RESUMING, *way]) for access in to(before, after)]
    for steps, clauses in (([], ["RSM-05"]), (given(A), ["RSM-05"]), ([*given(A), *given(B)], [])):
        began = [OPEN, *to(RUNNING, RESUMING), *steps]
        assert judged(began, on, source=source).clauses == clauses
        assert judged(began, on[:-2], CLOSE, source=source).clauses == []
        assert judged(began, on[:-2], GAP, on[-2:], source=source).clauses == []


def test_a_device_that_ran_after_saving_needs_no_state() -> None:
    """Its saved state is outdated, so leaving it out is not an offence."""
    result = judged(suspend(*taken(A)), to(STOP, RUNNING), to(RUNNING, RESUMING), to(RESUMING, RUNNING))
    assert result.clauses == []
    assert result.judge.unclear == {"RSM-05": {ELSEWHERE: 1}}
