# SPDX-License-Identifier: GPL-2.0-only
"""The current call of a guest, read by the host."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
from descriptors import same_descriptors

from vfio_compliance.results import inflight
from vfio_compliance.results.inflight import Inflight
from vfio_compliance.vm.shared_page import SharedPage


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedPage:
    """As in a guest, the environment names the file."""
    monkeypatch.setenv("VFIO_COMPLIANCE_INFLIGHT", str(tmp_path / "calls"))
    return SharedPage(tmp_path / "calls")


def test_the_host_reads_what_the_guest_notes(page: SharedPage) -> None:
    with same_descriptors():
        descriptor = inflight.create()
        assert page.last() is None
        Inflight(descriptor).begin("write", "region 9", 24, 8)
        call = page.last()
        os.close(descriptor)
    assert call is not None
    assert str(call) == "write of 8 bytes at 0x18 of region 9"
    assert call.seconds == 0.0  # the guest's clock is unknown


def test_the_age_of_a_call_is_measured_by_the_guests_clock(page: SharedPage) -> None:
    descriptor = inflight.create()
    Inflight(descriptor).begin("read", "region 9", 0, 4)
    page.ahead = 1000.0
    call = page.last()
    os.close(descriptor)
    assert call is not None
    assert 1000 <= call.seconds < 1060


def test_a_simultaneous_run_has_separate_memory(page: SharedPage) -> None:
    """Two runs must not mix their calls."""
    first = inflight.create()
    Inflight(first).begin("write", "region 9", 24, 8)
    program = "import os; from vfio_compliance.results import inflight as i; d = i.create(); "
    program += "i.Inflight(d).begin('read', 'region 1', 0, 1); print(i.last(d))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "region 1" in done.stdout
    assert "region 9" in str(page.last())
    os.close(first)


@pytest.mark.parametrize("path", ["/no/such/file", "/dev/null", ""])
def test_a_run_without_the_file(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("VFIO_COMPLIANCE_INFLIGHT", path)
    descriptor = inflight.create()
    assert inflight.last(descriptor) is None
    os.close(descriptor)


def test_the_page_may_contain_anything(page: SharedPage) -> None:
    """A guest can write any bytes into it."""
    with page.path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[:] = b"\xff" * len(memory)
    page.ahead = 0.0
    assert page.last() is not None
