# SPDX-License-Identifier: GPL-2.0-only
"""The command vm, as far as it can be tested without booting a guest."""

import errno
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from vfio_compliance.cli.main import main, parser
from vfio_compliance.cli.vm import orders as given
from vfio_compliance.results.kernel_log import complaints
from vfio_compliance.results.verdict import worst_exit
from vfio_compliance.vm import apt, boot, command, host, kernels, orders, outcome, packages, reference
from vfio_compliance.vm.apt import Mirror
from vfio_compliance.vm.cache import Cache
from vfio_compliance.vm.errors import VmError
from vfio_compliance.vm.guests import Guests
from vfio_compliance.vm.shared_page import SharedPage

INDEX = """\
Package: linux-image-6.1.0-9-amd64
Version: 6.1.27-1
Size: 100
Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool

Package: linux-image-6.1.0-10-amd64
Version: 6.1.37-1
Size: 200
Depends: kmod, linux-base (>= 4.3~)

Package: linux-image-6.1.0-10-rt-amd64
Version: 6.1.37-1
Size: 200

Package: linux-image-6.1.0-11-amd64
Version: 6.1.38-1
Size: 1
Description: an image whose headers have not been published yet

Package: linux-image-6.12.95+deb12-amd64
Version: 6.12.95-1~bpo12+1
Size: 300

Package: linux-headers-6.1.0-9-amd64
Version: 6.1.27-1
Size: 1

Package: linux-headers-6.1.0-10-amd64
Version: 6.1.37-1
Size: 10
Depends: linux-headers-6.1.0-10-common (= 6.1.37-1), linux-kbuild-6.1 (>= 6.1.37-1), linux-compiler-gcc-12-x86

Package: linux-headers-6.12.95+deb12-amd64
Version: 6.12.95-1~bpo12+1
Size: 1

Package: linux-headers-6.1.0-10-common
Version: 6.1.37-1
Size: 20

Package: linux-kbuild-6.1
Version: 6.1.27-1
Size: 5

Package: linux-kbuild-6.1
Version: 6.1.37-1
Size: 6
"""


def test_the_newest_release_is_found_numerically() -> None:
    assert packages.newest(packages.parse(INDEX), "6.1") == "6.1.0-10-amd64"


def test_a_series_does_not_match_a_longer_number() -> None:
    assert packages.newest(packages.parse(INDEX), "6.12") == "6.12.95+deb12-amd64"
    assert packages.newest(packages.parse(INDEX), "6.2") is None


def test_a_kernel_comes_only_with_its_headers_and_kbuild() -> None:
    found = packages.closure(packages.parse(INDEX), "6.1.0-10-amd64")
    assert [(p.name, p.size) for p in found] == [
        ("linux-headers-6.1.0-10-amd64", 10),
        ("linux-headers-6.1.0-10-common", 20),
        ("linux-image-6.1.0-10-amd64", 200),
        ("linux-kbuild-6.1", 6),
    ]


class _Apt:
    """Package indexes by Debian release. Updates of some fail; they may still have an older index."""

    indexes: ClassVar = {"bookworm": INDEX}
    complaints: ClassVar[dict[str, str]] = {}

    def __init__(self, state: Path, _: str) -> None:
        self._name = state.name

    def update(self) -> str:
        return self.complaints.get(self._name, "")

    def kernel_index(self) -> dict[str, packages.Package]:
        return packages.parse(self.indexes.get(self._name, ""))

    def download(self, *_: object) -> None:
        raise AssertionError("these tests fetch nothing")


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., kernels.Found]:
    """Finds a kernel, with a mirror that complains about some releases, and with these cached kernels."""

    def find(series: str, complaints: dict[str, str], *cached: str) -> kernels.Found:
        monkeypatch.setattr(kernels, "Apt", type("Apt", (_Apt,), {"complaints": complaints}))
        monkeypatch.setattr(Mirror, "of_host", lambda: Mirror("http://archive", None, "bookworm"))
        cache = Cache(tmp_path)
        for release in cached:
            cache.entry("kernels", release, lambda folder: folder.mkdir(exist_ok=True))
        return kernels.find(cache, series)

    return find


def test_an_index_that_fails_does_not_affect_the_others(find: Callable[..., kernels.Found]) -> None:
    found = find("6.1", {"trixie": "File has unexpected size"})
    assert (found.release, found.fetch is None) == ("6.1.0-10-amd64", False)
    assert find("6.1", {"bookworm": "File has unexpected size"}).release == "6.1.0-10-amd64"


def test_a_cached_kernel_is_used_if_the_mirror_fails(find: Callable[..., kernels.Found]) -> None:
    found = find("6.1", {"bookworm": "File has unexpected size"}, "6.1.0-9-amd64")
    assert (found.release, found.fetch) == ("6.1.0-9-amd64", None)
    assert "there may be a newer one" in found.note


def test_the_error_for_a_missing_kernel_quotes_the_mirror(find: Callable[..., kernels.Found]) -> None:
    with pytest.raises(VmError, match="the package mirror does not answer, and no kernel") as raised:
        find("7.3", {"trixie": "no route"})
    assert raised.value.detail == "no route"
    with pytest.raises(VmError, match="no Debian release offers a kernel"):
        find("7.3", {})


def test_indexes_for_other_tools_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    dumped = "".join(
        f'Acquire::IndexTargets::deb::{name}::MetaKey "x";\n' for name in ("Packages", "Contents-deb", "DEP-11")
    )
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=dumped))
    assert apt._packages_alone() == [
        f"-oAcquire::IndexTargets::deb::{name}::DefaultEnabled=false" for name in ("Contents-deb", "DEP-11")
    ]


@pytest.mark.parametrize(
    ("lower", "higher"),
    [("6.1.9", "6.1.10"), ("1.0~rc1", "1.0"), ("1.0", "1.0+b1"), ("6.12.95-1~bpo12+1", "6.12.95-1")],
)
def test_versions_are_sorted_like_debian(lower: str, higher: str) -> None:
    assert packages.version_key(lower) < packages.version_key(higher)


def test_only_the_suite_of_the_hosts_mirror_changes() -> None:
    targets = "http://mirror.test/sec/ bookworm-security\nhttp://mirror.test/deb/ bookworm-updates\n"
    mirror = Mirror.from_targets(targets + "http://mirror.test/deb/ bookworm\n")
    lines = [line.split() for line in mirror.sources("trixie").splitlines()]
    assert [line[-3:] for line in lines] == [
        ["http://mirror.test/deb/", "trixie", "main"],
        ["http://mirror.test/deb/", "trixie-backports", "main"],
        ["http://mirror.test/sec/", "trixie-security", "main"],
    ]


def test_the_error_on_a_host_without_a_debian_archive_has_a_remedy() -> None:
    with pytest.raises(VmError, match="--kernel PATH"):
        Mirror.from_targets("")


def test_an_interrupted_cache_entry_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def half(folder: Path) -> None:
        (folder / "file").write_text("half")
        raise KeyboardInterrupt

    with cache.locked(), pytest.raises(KeyboardInterrupt):
        cache.entry("kernels", "6.1", half)
    assert list((tmp_path / "kernels").iterdir()) == []


def test_remains_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    rest = tmp_path / "kernels" / ".partial-x"
    rest.mkdir(parents=True)
    cache = Cache(tmp_path)
    assert cache.names("kernels") == []
    with cache.locked():
        assert not rest.exists()


def test_a_finished_cache_entry_is_not_made_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    made: list[Path] = []
    with cache.locked():
        assert cache.entry("modules", "a", made.append) == cache.entry("modules", "a", made.append)
    assert len(made) == 1


def test_a_build_is_identified_by_its_sources_and_kernel(tmp_path: Path) -> None:
    (tmp_path / "Kbuild").write_text("obj-m := vfio_refdriver.o\n")
    (tmp_path / "vfio_refdriver.c").write_text("int a;\n")
    old, new = (kernels.Kernel("k", tmp_path, None, release) for release in ("6.1.0-1", "6.1.0-2"))
    first = reference.key(tmp_path, old)
    assert reference.key(tmp_path, old) == first != reference.key(tmp_path, new)
    (tmp_path / "vfio_refdriver.o").write_text("a product of a build")
    assert reference.key(tmp_path, old) == first
    (tmp_path / "vfio_refdriver.c").write_text("int b;\n")
    assert reference.key(tmp_path, old) != first


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("int vfio_alloc_device; vfio_register_emulated_iommu_dev", ""),
        ("int vfio_register_group_dev(void);", "has no vfio_alloc_device yet"),
        ("vfio_alloc_device vfio_register_emulated_iommu_dev (*get_region_info_caps)", "has get_region_info_caps"),
        ("vfio_alloc_device_too vfio_register_emulated_iommu_dev", "has no vfio_alloc_device yet"),
    ],
)
@pytest.mark.parametrize("place", ["linux-headers-6.1.0-9-amd64", "linux-headers-6.1.0-9-common"])
def test_a_kernel_unfit_for_the_module_is_recognised_by_its_header(
    header: str, why: str, place: str, tmp_path: Path
) -> None:
    file = tmp_path / place / "include/linux/vfio.h"
    file.parent.mkdir(parents=True)
    file.write_text(header)
    kernel = kernels.Kernel("k", tmp_path, tmp_path / "linux-headers-6.1.0-9-amd64", "6.1.0-9-amd64")
    found = reference.unfit(kernel)
    assert why in found
    assert bool(found) == bool(why)


def test_a_kernel_without_a_vfio_header_is_left_to_the_compiler(tmp_path: Path) -> None:
    assert reference.unfit(kernels.Kernel("k", tmp_path, tmp_path / "headers", "")) == ""


def test_every_machine_has_two_devices_behind_an_iommu(tmp_path: Path) -> None:
    machine = boot.Machine(2, "1G", kvm=False)
    page = SharedPage(tmp_path / "calls")
    words = boot.command_line(tmp_path / "bzImage", machine, boot.Scratch(tmp_path), page, tmp_path, 60.0)
    (devices,) = [word for word in words if word.startswith("--qemu-opts=")]
    assert devices.index("intel-iommu,intremap=on") < devices.index("edu,addr=10.0") < devices.index("edu,addr=11.0")
    assert "intel_iommu=on" in words
    assert boot.PCI_DEVICES == ("0000:00:10.0", "0000:00:11.0")


def test_the_release_is_read_from_an_image(tmp_path: Path) -> None:
    image = bytearray(0x1000)
    image[0x202:0x206] = b"HdrS"
    image[0x20E:0x210] = (0x400).to_bytes(2, "little")
    image[0x600:0x620] = b"6.9.1-mine (me@here) #1 SMP\0".ljust(0x20, b"\0")
    (tmp_path / "bzImage").write_bytes(image)
    kernel = kernels.own(tmp_path / "bzImage", None)
    assert (kernel.release, kernel.headers) == ("6.9.1-mine", None)
    assert "--headers" in kernel.note


def test_all_missing_tools_are_named_with_their_packages() -> None:
    lines = host.missing(["vng", "busybox", "make"], lambda tool: "/bin/make" if tool == "make" else None)
    assert [line.split(" is missing: ")[0] for line in lines[:2]] == ["vng", "busybox"]
    assert "[vm]" in lines[0]
    assert "busybox-static" in lines[1]


def test_missing_tools_end_the_command_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(host, "search_path", lambda: str(tmp_path))
    assert main(["vm", "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= len([*host.BOOT, *host.FETCH, *host.BUILD])
    assert list(tmp_path.iterdir()) == []


def ordered(*options: str) -> orders.Orders:
    """The orders that these options give."""
    return given(parser().parse_args(["vm", *options]))


def test_commands_are_split_without_a_shell() -> None:
    parsed = ordered(
        "--kernels", "6.1,6.12", "--deadline", "90s", "--", "run", "--out", "{out}", "--then", "echo", "a b;c"
    )
    assert (parsed.kernels, parsed.deadline) == (["6.1", "6.12"], 90.0)
    assert parsed.commands == [["run", "--out", "{out}"], ["echo", "a b;c"]]
    assert orders.fill(parsed.commands[0], Path("/r/6.1"), "6.1") == ["run", "--out", "/r/6.1"]


def test_without_a_command_the_suites_run() -> None:
    parsed = ordered()
    assert parsed.kernels == ["5.10", "6.1", "6.12", "7.3"]
    assert parsed.commands == ordered("--").commands == []
    judged = [each[2] for each in parsed.default_commands(module=True)]
    assert judged == ["qemu-edu", "refdriver-kernel"]
    assert parsed.default_commands(module=False) == parsed.default_commands(module=True)[:1]
    assert orders.fill(parsed.default_commands(module=False)[0], Path("/r/7.3"), "7.3")[-1] == "/r/7.3/qemu-edu"


@pytest.mark.parametrize(
    "argv",
    [
        ["--deadline", "15"],
        ["--deadline", "0s"],
        ["--kernels", ","],
        ["--kernels", "six"],
        ["--profile", "p.yaml", "--", "true"],
        ["--only", "v1.state", "--", "true"],
        ["--module", ",a=1"],
        ["--module", "m.ko,debug"],
        ["--continue", "often"],
        ["--cpus", "0"],
        ["--", "a", "--then"],
        ["--", "a", "--then", "--ignore-log"],
        ["--", "--then", "a"],
        ["run"],
        ["--ignore-log", "run", "--", "run"],
        ["--ignore"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(argv: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        ordered(*argv)


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: CPU: 1 PID: 90 at drivers/vfio/vfio_main.c:100 vfio_x+0x1/0x2 [vfio]",
        "BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "INFO: task python:90 blocked for more than 120 seconds.",
        "watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
        "rcu: INFO: rcu_preempt self-detected stall on CPU",
        "general protection fault, probably for non-canonical address",
    ],
)
def test_a_splat_is_recognised(line: str) -> None:
    assert complaints(["[    1.0] vfio: fine", line]) == [line]


@pytest.mark.parametrize(
    "line",
    [
        "vfio_refdriver: loading out-of-tree module taints kernel.",
        "vfio_refdriver: module verification failed: signature and/or required key missing - tainting kernel",
        "ahci 0000:00:1f.2: some bug workaround enabled",
    ],
)
def test_an_ordinary_line_is_not_a_splat(line: str) -> None:
    assert complaints([line]) == []


@pytest.mark.parametrize(
    ("codes", "code"),
    [([], 0), ([0, 4], 4), ([4, 2], 2), ([2, 1, 0], 1), ([1, 3, 2], 1), ([3, 2], 3), ([0, 137], 1), ([5], 1)],
)
def test_the_worst_exit_code_wins(codes: list[int], code: int) -> None:
    assert worst_exit(codes) == code


def test_the_table_fits_a_terminal_and_shows_hangs() -> None:
    seconds = dict.fromkeys(outcome.STAGES, 123.4)
    rows = outcome.table(
        [
            outcome.Outcome("6.1", "6.1.0-56-amd64", seconds, [0, 1], log=[]),
            outcome.Outcome("6.12", "6.12.117+deb12-amd64", {"fetch": 1.0}, ending="hung"),
        ]
    )
    assert max(map(len, rows)) <= 100
    assert rows[1].endswith("0,1   clean")
    assert rows[2].endswith("hung")


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (bytes(0x38) + b"ARM\x64" + bytes(0x1000), "a kernel for arm64"),
        (b"\x7fELF" + bytes(0x1000), "an ELF file"),
        (b"\x1f\x8b" + bytes(0x1000), "compressed by gzip"),
        (b"", "not a kernel"),
        (b"text", "not a kernel"),
        (bytes(0x202) + b"HdrS\x0c\x02" + bytes(0x1000), "a 32-bit kernel"),
    ],
)
def test_an_image_for_another_machine_is_not_booted(tmp_path: Path, image: bytes, what: str) -> None:
    (tmp_path / "image").write_bytes(image)
    with pytest.raises(VmError, match=f"image is {what}.*boots a bzImage for x86-64"):
        kernels.own(tmp_path / "image", None)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        VmError("x.deb cannot be unpacked", "dpkg-deb: error: failed to write (No space left on device)"),
        VmError("apt-get download failed", "E: Write error - write (28: No space left on device)"),
    ],
)
def test_a_full_disk_is_reported_and_leaves_no_partial_entry(tmp_path: Path, error: Exception) -> None:
    def make(_: Path) -> None:
        raise error

    cache = Cache(tmp_path)
    with cache.locked(), pytest.raises(VmError, match=r"the disk is full.* name another folder with --cache"):
        cache.entry("kernels", "6.12", make)
    assert list((tmp_path / "kernels").iterdir()) == []


def test_another_error_is_passed_on_unchanged(tmp_path: Path) -> None:
    def make(_: Path) -> None:
        raise VmError("depmod failed")

    with Cache(tmp_path).locked(), pytest.raises(VmError, match=r"^depmod failed$"):
        Cache(tmp_path).entry("kernels", "6.12", make)


@pytest.fixture
def guests_booted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Runs the command with some options; returns its number of boots."""
    booted = []

    class FakeGuests(Guests):
        def run(self) -> None:
            booted.append(self)

    monkeypatch.setattr(command, "Guests", FakeGuests)
    monkeypatch.setattr(command, "fetch", lambda cache, _: kernels.Kernel("6.12", tmp_path, None, "6.12.1"))
    monkeypatch.setattr(host, "missing", lambda tools: [])
    places = ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--accel", "tcg"]

    def run(*options: str) -> int:
        assert command.run(ordered("--kernels", "6.12", *places, *options)) == 0
        return len(booted)

    return run


def test_prepare_boots_nothing(guests_booted: Callable[..., int]) -> None:
    assert guests_booted("--prepare") == 0


def test_each_kernel_is_booted_once(guests_booted: Callable[..., int]) -> None:
    assert guests_booted() == 1


@pytest.mark.parametrize(("code", "for_git"), [(0, 0), (1, 1), (3, 1), (2, 125), (4, 125)])
def test_git_bisect_skips_what_was_not_judged(code: int, for_git: int) -> None:
    assert command.for_bisect(code) == for_git


def test_a_resumed_run_writes_the_requested_reports() -> None:
    command = ["vfio-compliance", "run", "p.yaml", "--report", "junit=a.xml", "--out", "r", "--report=ktap=b"]
    resumed = ["vfio-compliance", "run", "--resume", "/r", "--report=ktap=b", "--report=junit=a.xml"]
    assert orders.resuming(command, Path("/r")) == resumed
