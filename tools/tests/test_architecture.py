# SPDX-License-Identifier: GPL-2.0-only
"""House rules that are hard to check by reading: which room may import which, and which may name which."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfio_compliance import interfaces, sections

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = PROJECT / "tools"
PACKAGE = TOOLS / "vfio_compliance"

#: The rooms of the package, each with the rooms from which it may import; a file on the top level counts as a room.
#: In a row of arrows, each room is known to all after it: uapi <- transport <- device <- run <- interfaces.
RESULTS = {"common", "rules", "results"}
RUN = {"common", "uapi", "transport", "device", "profiles", *RESULTS, "run"}
ROOMS = {
    "common": set(),
    "uapi": set(),
    "transport": {"common", "uapi"},
    "device": {"common", "uapi", "transport"},
    "rules": {"common"},
    "profiles": {"common"},
    "results": {"common", "rules", "uapi"},
    "run": RUN - {"run"},
    "migration_v1": RUN,
    "dirty_type1": RUN,
    "interfaces": {"run", "migration_v1", "dirty_type1"},
    "sections": {"profiles", "migration_v1", "dirty_type1"},
    "states": {*RUN, "interfaces"},
    "plugin": {*RUN, "interfaces", "sections", "states"},
    "clients": {*RUN, "interfaces"},
    "repro": RUN,
    "host": {"common", "transport", "profiles", "vm"},
    "probing": {*RUN, "host"},
    "bundle": RESULTS,
    "watch": {*RESULTS, "profiles"},
    "qemu": {*RUN, "interfaces", "clients"},
    "vm": {*RESULTS, "watch"},
    "cli": {
        *RUN,
        "interfaces",
        "sections",
        "states",
        "clients",
        "watch",
        "bundle",
        "repro",
        "qemu",
        "vm",
        "host",
        "probing",
    },
    "__main__": {"cli"},
}

#: The rooms of interfaces; no shared room names them.
INTERFACES = sorted(name for name in ROOMS["interfaces"] if name not in RUN)


def imports(file: Path) -> Iterator[str]:
    """Absolute names of everything that ``file`` imports."""
    package = list(file.relative_to(TOOLS).with_suffix("").parts) if file.is_relative_to(TOOLS) else []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level] if node.level else []
            module = [*base, *([node.module] if node.module else [])]
            yield from (".".join([*module, alias.name]) for alias in node.names)


def part_of(file: Path) -> str:
    """``device`` for a file of tools/vfio_compliance/device."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


def rooms_known_to(room: str) -> set[str]:
    """All rooms that a file of ``room`` imports from."""
    names = [name for file in FILES if part_of(file) == room for name in imports(file)]
    known = {name.split(".")[1] for name in names if name.startswith("vfio_compliance.")}
    return known - {room, "__version__"}


def test_every_room_is_listed() -> None:
    """A new room needs a list of the rooms that it may import."""
    assert {part_of(file) for file in FILES} - {"__init__"} == ROOMS.keys()


@pytest.mark.parametrize(
    ("room", "other"), [(room, other) for room in ROOMS for other in ROOMS if room != other], ids=str
)
def test_arrows(room: str, other: str) -> None:
    """A room imports another one only along an arrow."""
    assert other not in rooms_known_to(room) - ROOMS[room]


def test_no_cycle() -> None:
    """No room imports itself by way of others."""
    graph = graphlib.TopologicalSorter({room: rooms_known_to(room) for room in ROOMS})
    assert len([*graph.static_order()]) == len(ROOMS)


@pytest.mark.parametrize("interface", INTERFACES)
def test_shared_rooms_name_no_interface(interface: str) -> None:
    """A new interface is a line in interfaces.py and one in sections.py, and no change of shared code."""
    shared = [file for file in FILES if part_of(file) not in {*INTERFACES, "uapi", "interfaces", "sections"}]
    assert [
        str(file.relative_to(PACKAGE)) for file in shared if re.search(rf"\b{interface}\b", file.read_text("utf-8"))
    ] == []


def test_each_interface_has_its_keys_in_a_profile() -> None:
    """Both files list the same interfaces."""
    assert [interface.section for interface in interfaces.INTERFACES] == [*sections.SECTIONS]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_the_plugin_imports_pytest(file: Path) -> None:
    """And the fixtures of interfaces."""
    tops = {name.partition(".")[0] for name in imports(file)}
    may_import = part_of(file) == "plugin" or (part_of(file) in INTERFACES and file.name == "fixtures.py")
    assert may_import or not tops & {"pytest", "_pytest", "pytest_timeout"}


def test_two_readings_of_the_wire() -> None:
    """The reference driver imports only the ABI from the package; the package does not import the driver."""
    for file in (TOOLS / "refdriver").rglob("*.py"):
        assert all(name.split(".")[1:2] == ["uapi"] for name in imports(file) if name.startswith("vfio_compliance")), (
            file
        )
    for file in FILES:
        assert not any(name.partition(".")[0] == "refdriver" for name in imports(file)), file


def test_nothing_imports_suites() -> None:
    """Suites are loaded by pytest, never by code."""
    for file in [*FILES, *(TOOLS / "refdriver").rglob("*.py")]:
        assert not any(name.partition(".")[0] == "suites" for name in imports(file)), file


#: Types of the values of fixtures.
FIXTURE_TYPES = {
    *("device.Area", "device.Container", "device.Device", "device.DirtyTracker", "device.MigrationCapability"),
    *("device.Region", "device.Stream"),
    *("profiles.Profile", "run.client.Access", "run.session.Session", "run.stimulus.Activity", "run.stimulus.Actor"),
    "transport.Outcome",
}


@pytest.mark.parametrize("file", sorted((PROJECT / "suites").rglob("test_*.py")), ids=lambda file: file.name)
def test_suites_know_no_target(file: Path) -> None:
    """A test names no transport, vendor or device; it imports only checks and the types of its fixtures."""
    text = file.read_text(encoding="utf-8").lower()
    assert not re.search(r"vfio.user|kernel_?group|refdriver|socket|\bedu\b", text)
    known = [name.partition(".")[2] for name in imports(file) if name.startswith("vfio_compliance.")]
    allowed = ("run.checks", "uapi", "common", *INTERFACES)
    assert [name for name in known if not name.startswith(allowed) and name not in FIXTURE_TYPES] == []


def tracked() -> list[Path]:
    """Files under version control."""
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [PROJECT / name for name in listed.stdout.splitlines() if (PROJECT / name).is_file()]


def test_each_source_names_its_licence() -> None:
    """The first or second line of each source file is its SPDX line."""
    code = (".py", ".c", ".h", ".yaml", ".toml", ".ini", ".html", ".css", ".js", ".mjs")
    sources = [file for file in tracked() if file.suffix in code]
    assert [
        str(file.relative_to(PROJECT))
        for file in sources
        if not any("SPDX-License-Identifier: GPL-2.0-only" in line for line in file.read_text().splitlines()[:2])
    ] == []
