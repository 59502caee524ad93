# SPDX-License-Identifier: GPL-2.0-only
"""What a guest does, as far as it can be tested outside of one, and how the host follows it."""

import os
import signal
import subprocess
import sys
import threading
import time
from math import inf
from pathlib import Path

import pytest
from descriptors import same_descriptors

from vfio_compliance.vm import boot
from vfio_compliance.vm.console import Console
from vfio_compliance.vm.guest import programs, root
from vfio_compliance.vm.guest.modules import Loader, Own
from vfio_compliance.vm.guest.reporting import MARK
from vfio_compliance.vm.life import Life


def _follow(script: str, tmp_path: Path, deadline: float) -> tuple[boot.Boot, list[str], str]:
    shown: list[str] = []
    console = Console(tmp_path / "console.log")
    line = [sys.executable, "-c", f"MARK = {MARK!r}\n{script}"]
    result = boot.run(
        line, console, deadline, boot.Scratch(tmp_path), shown.append, lambda event, at: None, Life(inf, inf)
    )
    return result, shown, console.path.read_text()


def test_reports_are_separated_from_output_even_within_a_line(tmp_path: Path) -> None:
    script = "import sys\nprint('panic', file=sys.stderr)\n"
    script += "print('dots', end='')\nprint(MARK + '{\"event\": \"end\"}')"
    result, shown, console = _follow(script, tmp_path, 60)
    assert (result.events, shown, console) == ([{"event": "end"}], ["dots"], "panic\n")
    assert not result.timed_out


def test_a_machine_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    script = "import subprocess, sys\nchild = subprocess.Popen(['sleep', '1000'])\n"
    script += "print(child.pid, flush=True)\nchild.wait()"
    start = time.monotonic()
    result, shown, _ = _follow(script, tmp_path, 5)
    assert result.timed_out
    assert time.monotonic() - start < 30
    state = subprocess.run(["ps", "-o", "stat=", "-p", shown[0].strip()], capture_output=True, text=True, check=False)
    assert state.stdout.strip()[:1] in ("", "Z")


def test_the_guest_passes_on_all_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its port accepts only part of a large write."""
    shown = bytearray()

    def write(_: int, data: bytes) -> int:
        shown.extend(data[:1000])
        return len(data[:1000])

    monkeypatch.setattr(os, "write", write)
    assert programs.run([sys.executable, "-u", "-c", "print('x' * 70000); raise SystemExit(3)"], "/") == 3
    assert shown == b"x" * 70000 + b"\n"


def test_the_guest_does_not_wait_for_remaining_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Their output is copied as long as they run, by a thread that ends with them."""
    monkeypatch.setattr(programs, "_DRAIN", 0.1)
    before = set(threading.enumerate())
    with same_descriptors():
        start = time.monotonic()
        assert programs.run(["sh", "-c", "sleep 600 & echo $! > running; echo done"], str(tmp_path)) == 0
        assert time.monotonic() - start < 10
        (copying,) = set(threading.enumerate()) - before
        os.kill(int((tmp_path / "running").read_text()), signal.SIGKILL)
        copying.join(10)
        assert not copying.is_alive()


@pytest.mark.parametrize("modules", [True, False], ids=["with modules", "without modules"])
def test_the_guest_makes_each_mount_point_before_it_mounts(monkeypatch: pytest.MonkeyPatch, modules: bool) -> None:
    """Neither the host nor the guest's kernel needs to have /lib/modules."""
    made: list[str] = []
    mounted: list[str] = []

    def mount(program: list[str]) -> str:
        mounted.append(program[-1])
        return "" if program[-1] in made else "mount point does not exist"

    monkeypatch.setattr(os, "makedirs", lambda path, exist_ok: made.append(path))
    monkeypatch.setattr(os.path, "isdir", lambda path: modules or path != "/lib/modules")
    monkeypatch.setattr(os.path, "realpath", lambda path: path.replace("/lib/", "/usr/lib/"))
    monkeypatch.setattr(os, "chroot", lambda _: None)
    monkeypatch.setattr(os, "chdir", lambda _: None)
    monkeypatch.setattr(root, "do", mount)
    assert root.enter_cached("/keep") == ""
    assert ("/run/vm/root/usr/lib/modules" in mounted) == modules
    assert mounted[-1] == "/run/vm/root/keep"


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("exit 0", ""),
        ("exit 3", "exit 3"),
        ("echo wrong >&2; exit 3", "wrong"),
        ("kill -9 $$", "signal 9"),
        ("echo so far; sleep 600", "it did not end within 1 s\nso far"),
    ],
)
def test_errors_of_a_set_up_program(script: str, complaint: str) -> None:
    start = time.monotonic()
    assert programs.do(["sh", "-c", script], seconds=1.0) == complaint
    assert time.monotonic() - start < 30


def test_a_set_up_program_may_leave_a_process_running(tmp_path: Path) -> None:
    start = time.monotonic()
    assert programs.do(["sh", "-c", "sleep 600 & echo $! > running; echo fine"], cwd=str(tmp_path), seconds=1.0) == ""
    assert time.monotonic() - start < 30
    os.kill(int((tmp_path / "running").read_text()), signal.SIGKILL)


def test_a_missing_program_is_named() -> None:
    assert programs.do(["/no/such/program"]) == "/no/such/program: No such file or directory"


class _Loader(Loader):
    """Takes a folder for that of the kernel's modules."""

    folder: Path

    def _folder(self) -> Path:
        return self.folder


@pytest.fixture
def loading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[_Loader, list[str]]:
    """A kernel with VFIO as modules, and the programs that load them, in order."""
    (tmp_path / "modules.dep").write_text(
        "kernel/vfio.ko.xz: kernel/iommufd.ko.xz\nkernel/iommufd.ko.xz:\n"
        "kernel/vfio_iommu_type1.ko.xz: kernel/vfio.ko.xz kernel/iommufd.ko.xz\n"
        "kernel/vfio-pci.ko.xz: kernel/vfio-pci-core.ko.xz kernel/vfio.ko.xz\n"
        "kernel/vfio-pci-core.ko.xz: kernel/vfio.ko.xz\n"
    )
    (tmp_path / "modules.builtin").write_text("kernel/virtio.ko\n")
    loaded: list[str] = []

    def do(program: list[str]) -> str:
        loaded.append(" ".join([Path(program[0]).name, *program[1:]]))
        return ""

    monkeypatch.setattr(programs, "do", do)
    loader = _Loader({}, "6.12")
    loader.folder = tmp_path
    return loader, loaded


def test_a_module_of_the_kernel_is_loaded_after_its_dependencies(loading: tuple[_Loader, list[str]]) -> None:
    loader, loaded = loading
    assert loader.load("vfio-pci") == ""
    names = [line.split()[-1] for line in loaded]
    assert names.index("iommufd") < names.index("vfio") < names.index("vfio_pci_core") < names.index("vfio_pci")
    assert len(names) == len(set(names))


def test_a_module_of_the_user_replaces_that_of_the_kernel(loading: tuple[_Loader, list[str]]) -> None:
    """Even if another module needs it, and with a dash or an underscore in its name."""
    loader, loaded = loading
    loader.own["vfio"] = Own("/m/vfio.ko", "vfio", ["a=1"], ["iommufd"])
    loader.own["vfio_pci_core"] = Own("/m/vfio-pci-core.ko", "vfio_pci_core", [], ["vfio"])
    assert loader.load("vfio-pci") == ""
    assert loaded == [
        "modprobe iommufd",
        "insmod /m/vfio.ko a=1",
        "insmod /m/vfio-pci-core.ko",
        "modprobe vfio_pci",
    ]


def test_a_built_in_module_cannot_be_replaced(loading: tuple[_Loader, list[str]]) -> None:
    loader, loaded = loading
    loader.own["virtio"] = Own("/m/virtio.ko", "virtio")
    assert "has virtio built in: build it as a module" in loader.load("virtio")
    assert loaded == []


def test_modules_that_need_each_other_are_loaded(loading: tuple[_Loader, list[str]]) -> None:
    loader, _ = loading
    loader.own |= {"a": Own("/m/a.ko", "a", [], ["b"]), "b": Own("/m/b.ko", "b", [], ["a"])}
    assert loader.load("a") == ""
