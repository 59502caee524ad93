# SPDX-License-Identifier: GPL-2.0-only
"""A user's own modules, trees and headers, checked before anything is booted."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_compliance.cli.main import main, parser
from vfio_compliance.cli.vm import orders as ordered
from vfio_compliance.vm import host, modules
from vfio_compliance.vm.errors import VmError
from vfio_compliance.vm.headers import compiler, lacking
from vfio_compliance.vm.kernels import Kernel
from vfio_compliance.vm.orders import Given

KERNEL = Kernel("6.12", Path("/k"), Path("/headers"), "6.12.1")


@pytest.fixture
def module(tmp_path: Path) -> Callable[..., Path]:
    """Makes an object with the given fields of modinfo."""
    if shutil.which("gcc") is None or host.which("modinfo") is None:
        pytest.skip("gcc or modinfo is not installed")

    def make(file: str, **fields: str) -> Path:
        parts = [f"{name}={value}" for name, value in fields.items()]
        text = "\\0".join(parts)
        source = tmp_path / "module.c"
        source.write_text(f'const char fields[] __attribute__((section(".modinfo"), used)) = "{text}";\n')
        path = tmp_path / file
        subprocess.run(["gcc", "-c", "-o", str(path), str(source)], check=True)
        return path

    return make


def test_name_and_dependencies_of_a_module(module: Callable[..., Path]) -> None:
    path = module("vfio-x.ko", name="vfio_x", vermagic="6.12.1 SMP", depends="vfio,mdev", parm="devices:how many")
    assert modules.own([Given(path, ("devices=2", "dyndbg=+p"))], KERNEL) == [
        {
            "path": str(path),
            "name": "vfio_x",
            "parameters": ["devices=2", "dyndbg=+p"],
            "needs": ["vfio", "mdev"],
        }
    ]


def test_a_module_without_a_name_has_that_of_its_file(module: Callable[..., Path]) -> None:
    (found,) = modules.own([Given(module("vfio-x.ko", vermagic="6.12.1 SMP"))], KERNEL)
    assert (found["name"], found["needs"]) == ("vfio_x", [])


@pytest.mark.parametrize(
    ("fields", "parameters", "complaint"),
    [
        (
            {"name": "x", "vermagic": "6.1.0 SMP"},
            (),
            r"was built for 6\.1\.0, and this kernel is 6\.12\.1: build it with make",
        ),
        ({"name": "x"}, (), "is not a kernel module: it does not say which kernel it was built for"),
        (
            {"name": "x", "vermagic": "6.12.1 SMP", "parm": "debug:more"},
            ("debgu=1",),
            "has no parameter debgu; it has: debug",
        ),
        ({"name": "x", "vermagic": "6.12.1 SMP"}, ("a=1",), "has no parameter a; it has: none"),
    ],
    ids=["another kernel", "not a module", "another parameter", "no parameter"],
)
def test_the_error_for_an_unusable_module_has_a_remedy(
    module: Callable[..., Path], fields: dict[str, str], parameters: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(VmError, match=complaint):
        modules.own([Given(module("x.ko", **fields), parameters)], KERNEL)


def test_two_modules_of_one_name_are_refused(module: Callable[..., Path]) -> None:
    same = {"name": "x", "vermagic": "6.12.1 SMP"}
    with pytest.raises(VmError, match="another module x is given as well"):
        modules.own([Given(module("x.ko", **same)), Given(module("y.ko", **same))], KERNEL)


NEEDS_MODINFO = pytest.mark.skipif(host.which("modinfo") is None, reason="modinfo is not installed")


@NEEDS_MODINFO
def test_a_missing_module(tmp_path: Path) -> None:
    with pytest.raises(VmError, match="No such file"):
        modules.own([Given(tmp_path / "x.ko")], KERNEL)


@NEEDS_MODINFO
def test_a_file_that_is_not_a_module(tmp_path: Path) -> None:
    (tmp_path / "x.ko").write_bytes(b"text")
    with pytest.raises(VmError, match="is not a kernel module"):
        modules.own([Given(tmp_path / "x.ko")], KERNEL)


def test_parameters_follow_the_file_and_may_have_commas() -> None:
    parsed = ordered(parser().parse_args(["vm", "--module", "m.ko,ids=1,2,3,debug=1", "--module", "n.ko"]))
    assert parsed.modules == [Given(Path("m.ko"), ("ids=1,2,3", "debug=1")), Given(Path("n.ko"))]


def test_a_file_that_a_guest_cannot_see_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vm", "--module", "/run/m.ko"]) == 2
    assert "a guest has its own /run: put the file into another folder" in capsys.readouterr().err


def test_a_profile_is_read_before_anything_is_booted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vm", "--profile", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("profile", "loaded"), [("profiles/refdriver-kernel.yaml", True), ("profiles/qemu-edu.yaml", False)]
)
def test_the_reference_driver_is_loaded_only_for_its_own_profile(project: Path, profile: str, loaded: bool) -> None:
    assert ordered(parser().parse_args(["vm", "--profile", str(project / profile)])).module == loaded


def test_a_rerun_has_all_options_of_the_guest() -> None:
    words = [
        "--module",
        "m.ko,a=1",
        "--setup",
        "echo 1 > /x",
        "--append",
        "quiet",
        "--qemu-arg",
        "-smp 3",
        "--no-module",
    ]
    parsed = ordered(parser().parse_args(["vm", *words]))
    again = parsed.call_for("6.1", None)
    assert again[:4] == ["vfio-compliance", "vm", "--kernels", "6.1"]
    repeated = ordered(parser().parse_args(again[1:]))
    same = ("modules", "setup", "append", "qemu", "module")
    assert [getattr(repeated, name) for name in same] == [getattr(parsed, name) for name in same]
    assert parsed.call_for("x", Path("/src/linux"))[2:4] == ["--kernel", "/src/linux"]


# -- trees ------------------------------------------------------------------------------------------------------------


def _tree(folder: Path, options: str) -> Path:
    (folder / ".config").write_text(options)
    return folder


def test_missing_options_of_a_tree_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = "".join(f"CONFIG_{name}=y\n" for name in lacking(_tree(tmp_path, "")))
    assert main(["vm", "--config-check", str(_tree(tmp_path, whole))]) == 0
    assert "lacks nothing" in capsys.readouterr().out
    less = whole.replace("CONFIG_VFIO_PCI=y\n", "# CONFIG_VFIO_PCI is not set\n").replace(
        "OVERLAY_FS=y", "OVERLAY_FS=m"
    )
    assert main(["vm", "--config-check", str(_tree(tmp_path, less))]) == 1
    out = capsys.readouterr().out
    assert out.startswith("CONFIG_VFIO_PCI: ")
    assert "1 option missing" in out


def test_an_option_of_new_kernels_is_only_required_there(tmp_path: Path) -> None:
    assert "VFIO_GROUP" not in lacking(_tree(tmp_path, ""))
    kconfig = tmp_path / "drivers" / "vfio" / "Kconfig"
    kconfig.parent.mkdir(parents=True)
    kconfig.write_text("config VFIO_GROUP\n\tbool\n")
    assert "VFIO_GROUP" in lacking(tmp_path)


def test_a_tree_without_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vm", "--config-check", str(tmp_path)]) == 2
    assert "has no .config: run make" in capsys.readouterr().err


def test_headers_name_their_compiler(tmp_path: Path) -> None:
    assert compiler(_tree(tmp_path, 'CONFIG_CC_VERSION_TEXT="gcc-12 (Debian 12.2.0) 12.2.0"\n')).startswith("gcc-12")


def test_headers_alone_take_a_series(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["vm", "--headers", "/x"])
    assert "by itself it takes a series such as 6.12" in capsys.readouterr().err
