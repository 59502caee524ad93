# SPDX-License-Identifier: GPL-2.0-only
"""The house rules that a reader could not see being broken: who imports whom, and who says whose name."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TOOLS = PROJECT / "tools"
PACKAGE = TOOLS / "vfio_compliance"

#: What each part of the package may import of the others; a file on the top level counts as a part.
ALLOWED = {
    "uapi": set(),
    "transport": {"uapi"},
    "model": {"uapi"},
    "device": {"uapi", "transport", "model"},
    "spec": set(),
    "profiles": set(),
    "results": {"uapi", "spec"},
    "interruptions": set(),
    "runner": {"interruptions", "results", "spec", "profiles"},
    "vm": {"results"},
    "judge": {"model", "results"},
    "record": {"device", "interruptions", "judge", "results", "transport", "uapi"},
    "checks": {"device", "transport"},
    "stimulus": {"checks", "device", "profiles", "transport"},
    "journeys_v1": {"checks", "device", "model", "session", "stimulus", "transport", "uapi"},
    "dirty_type1": {"checks", "device", "model", "session", "stimulus", "transport", "uapi"},
    "stress": {"device", "model", "profiles", "session", "stimulus", "transport", "uapi"},
    "reach": {"device", "session", "transport", "uapi"},
    "session": {
        *("device", "dirty_type1", "journeys_v1", "model", "profiles", "reach", "results", "stimulus", "transport"),
        "uapi",
    },
    "fixtures": {
        *("checks", "device", "dirty_type1", "journeys_v1", "model", "profiles", "reach", "session", "stimulus"),
        *("stress", "transport", "uapi"),
    },
    "plugin": {"checks", "device", "fixtures", "profiles", "results", "session", "spec", "transport"},
    "__main__": {"judge", "profiles", "record", "results", "runner", "spec", "vm"},
}

#: The face towards pytest.
MAY_IMPORT_PYTEST = {"plugin", "fixtures"}


def imports(file: Path) -> Iterator[str]:
    """Absolute names of all that ``file`` imports."""
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


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_arrows(file):
    """A part imports only the parts that it may know."""
    part = part_of(file)
    if part == "__init__":
        return
    parts = {name.split(".")[1] for name in imports(file) if name.startswith("vfio_compliance.")}
    foreign = parts - ALLOWED[part] - {part, "__version__"}
    assert not foreign, f"{part} must not import {foreign}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_pytest_has_one_face(file):
    """Only the plugin and the fixtures import pytest."""
    tops = {name.partition(".")[0] for name in imports(file)}
    assert part_of(file) in MAY_IMPORT_PYTEST or not tops & {"pytest", "_pytest", "pytest_timeout"}


def test_two_readings_of_the_wire():
    """The reference driver knows of the package nothing but the ABI; the package knows nothing of the driver."""
    for file in (TOOLS / "refdriver").rglob("*.py"):
        assert all(name.split(".")[1:2] == ["uapi"] for name in imports(file) if name.startswith("vfio_compliance")), (
            file
        )
    for file in FILES:
        assert not any(name.partition(".")[0] == "refdriver" for name in imports(file)), file


def test_nothing_imports_suites():
    """Suites are loaded by pytest, never by code."""
    for file in [*FILES, *(TOOLS / "refdriver").rglob("*.py")]:
        assert not any(name.partition(".")[0] == "suites" for name in imports(file)), file


@pytest.mark.parametrize("file", sorted((PROJECT / "suites").rglob("test_*.py")), ids=lambda file: file.name)
def test_suites_know_no_target(file):
    """A test names no transport, no vendor and no device; and it imports only what judges."""
    text = file.read_text(encoding="utf-8").lower()
    assert not re.search(r"vfio.user|kernel_?group|refdriver|socket|\bedu\b", text)
    parts = {name.split(".")[1] for name in imports(file) if name.startswith("vfio_compliance.")}
    assert parts <= {"checks", "model", "uapi"}


def tracked() -> list[Path]:
    """Files under version control."""
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [PROJECT / name for name in listed.stdout.splitlines() if (PROJECT / name).is_file()]


def test_each_source_names_its_licence():
    """The first or second line of each source file is its SPDX line."""
    sources = [file for file in tracked() if file.suffix in (".py", ".c", ".h", ".yaml", ".toml", ".ini")]
    assert [
        str(file.relative_to(PROJECT))
        for file in sources
        if not any("SPDX-License-Identifier: GPL-2.0-only" in line for line in file.read_text().splitlines()[:2])
    ] == []
