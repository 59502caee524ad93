# SPDX-License-Identifier: GPL-2.0-only
"""When a device is reset before a case, and what an earlier case has left for a later one."""

from __future__ import annotations

import pytest

from vfio_compliance.device import Container
from vfio_compliance.results import journal
from vfio_compliance.results.events import Note
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.transport import Outcome, Target, Transport
from vfio_compliance.uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, DirtyPagesFlags
from vfio_compliance.uapi.vfio import VFIO_DEVICE_GET_INFO, VFIO_DEVICE_RESET, VFIO_DEVICE_SET_IRQS

START, STOP, GET = DirtyPagesFlags.START, DirtyPagesFlags.STOP, DirtyPagesFlags.GET_BITMAP


@pytest.fixture
def judge(judge_in_process, project, tmp_path):
    """Judges the reference driver with a defect by some rules or cases, in that order; the result, and the notes."""

    def run(defect, *only):
        words = (f"--only={each}" for each in only)
        result = judge_in_process(project / "profiles/reference.yaml", tmp_path, f"--defect={defect}", *words)
        events = [line.event for line in journal.read(tmp_path / journal.NAME)]
        return result, [event.text for event in events if isinstance(event, Note)]

    return run


def test_it_is_held_against_no_rule(judge):
    """A case that a request of an earlier one has spoilt is run again, after a reset, and goes well."""
    result, notes = judge("tracking-stop-again-wedges", "dirty.request.one-flag")
    assert set(result.verdicts.values()) == {Verdict.PASS}
    (note,) = [note for note in notes if "an earlier case had left something" in note]
    assert "dirty.request.one-flag" in note


def test_what_goes_wrong_after_a_reset_too_is_broken(judge):
    """The calls that are told are those after the reset."""
    result, notes = judge("bitmap-msb-first", "dirty.info.argsz", "dirty.bitmap.bit-per-page")
    first = next(case for case in result.cases.values() if case.verdict is Verdict.FAIL)
    assert first.calls[0].number == VFIO_DEVICE_RESET
    assert not any("had left something" in note for note in notes)


class Answering(Transport):
    """Says the same to each request."""

    takes_pointers = True
    kernel = True

    def __init__(self, errno=0):
        super().__init__()
        self._said = Outcome(-1 if errno else 0, errno)

    def identity(self):
        return {}

    def _open(self):
        pass

    def _close(self):
        pass

    def _ioctl(self, target, request, argument):
        return self._said

    def _write(self, region, offset, data):
        return self._said

    _read = _map = None


@pytest.mark.parametrize(
    ("flags", "errno", "may"),
    [
        ((), 0, False),
        ((GET,), 0, False),
        ((START,), 0, True),
        ((START,), 22, True),
        ((START | STOP,), 0, True),
        ((START, STOP), 0, False),
        ((START, STOP), 22, True),
        ((STOP, START), 0, True),
    ],
    ids=str,
)
def test_whether_pages_may_be_tracked(flags, errno, may):
    """After anything but a STOP that succeeded last, where something else than a bitmap was ever asked for."""
    with Answering(errno) as transport:
        for each in flags:
            Container(transport).try_request(VFIO_IOMMU_DIRTY_PAGES, Container.dirty_request(each))
        assert transport.may_track == may


@pytest.mark.parametrize(
    ("touch", "touched"),
    [
        (lambda device: device.ioctl(Target.DEVICE, VFIO_DEVICE_GET_INFO, bytearray(24)), False),
        (lambda device: device.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, bytearray(8)), False),
        (lambda device: device.seen("mapped-read", 0, 0, b"\1"), False),
        (lambda device: device.ioctl(Target.DEVICE, VFIO_DEVICE_SET_IRQS, bytearray(20)), True),
        (lambda device: device.write(0, 0, b"\1"), True),
        (lambda device: device.seen("mapped-write", 0, 0, b"", b"\1"), True),
    ],
    ids=["a question", "a request to the container", "a look", "interrupts", "a write", "a write through a mapping"],
)
@pytest.mark.parametrize("errno", [0, 22], ids=["taken", "refused"])
def test_what_a_reset_is_needed_after(touch, touched, errno):
    """What may have changed the device, whatever it answered."""
    with Answering(errno) as transport:
        touch(transport)
        assert transport.touched == touched
