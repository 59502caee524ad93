# SPDX-License-Identifier: GPL-2.0-only
"""House rules of the reference driver: its rooms, their imports, and where the word defect may be."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import refdriver
from refdriver.defects import DEFECTS, broken
from refdriver.driver import build
from refdriver.options import Options
from refdriver.overlays import REGISTRY

ROOT = Path(refdriver.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

#: Each imports only from itself and from those before it; a file on the top level counts as a room.
ROOMS = ["refusal", "options", "parts", "socket", "container", "device", "migration_v1", "driver"]
#: Only these, the folders called defects, and the modules that choose among them know about defects.
OVERLAYS = ["overlays", "defects"]
CHOSEN_BY = ["__main__", "__init__"]


def name_of(file: Path) -> str:
    """``socket.wire`` for socket/wire.py, ``socket`` for socket/__init__.py."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(file): file for file in FILES}


def is_good(module: str) -> bool:
    """Whether a module is a part of the good driver."""
    return "defects" not in module.split(".") and module not in OVERLAYS + CHOSEN_BY


GOOD = [module for module in MODULES if is_good(module)]


def imports(module: str) -> Iterator[str]:
    """The driver's modules that a module imports, when it is loaded or later."""
    file = MODULES[module]
    package = list(file.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            for alias in node.names:
                whole = [part for part in [*base, alias.name] if part]
                yield next(name for name in (".".join(whole), ".".join(whole[:-1])) if name in MODULES)


@pytest.mark.parametrize("module", GOOD)
def test_good_driver_knows_no_defect(module: str) -> None:
    """It contains neither the word nor the name of a defect, and imports no module that does."""
    text = MODULES[module].read_text(encoding="utf-8")
    assert "defect" not in text.lower()
    assert [name for name in DEFECTS if re.search(rf"(?<![\w-]){name}(?![\w-])", text)] == []
    assert [name for name in imports(module) if not is_good(name)] == []


@pytest.mark.parametrize("module", [module for module in MODULES if module not in OVERLAYS + CHOSEN_BY])
def test_rooms_import_in_one_direction(module: str) -> None:
    """A room and its defects import only rooms before it."""
    rank = ROOMS.index(module.split(".")[0])
    others = {name.split(".")[0] for name in imports(module)} - {"overlays"}
    assert {other for other in others if ROOMS.index(other) > rank} == set()


def test_imports_have_no_cycle() -> None:
    """There is an order in which each module comes after all that it imports."""
    order = TopologicalSorter({module: set(imports(module)) - {module} for module in MODULES})
    assert len(list(order.static_order())) == len(MODULES)


def test_only_the_driver_names_a_version_of_migration() -> None:
    """The room of a version is named where the driver is built and in the list of defects, and nowhere else."""
    named = {
        module
        for module, file in MODULES.items()
        if "migration_v" in file.read_text(encoding="utf-8") and not module.startswith("migration_v")
    }
    assert named == {"driver", "defects", "__init__"}


def test_each_defect_is_declared_once() -> None:
    """Its name and sentence are in one place."""
    declared: Counter[str] = Counter()
    for module, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "defect":
                assert ".defects." in module
                declared[ast.literal_eval(node.args[0])] += 1
    assert declared == Counter(list(DEFECTS))


@pytest.mark.parametrize("name", DEFECTS)
def test_driver_with_a_defect_has_all_its_overlays(name: str) -> None:
    """Its classes contain all overlays of the defect, and none of another one."""
    made = broken([name])
    used: set[type] = set()

    def noted(good: type[object], /) -> type[object]:
        chosen = made(good)
        used.update(set(chosen.__mro__) - set(good.__mro__) - {chosen})
        return chosen

    build(Options(), noted)  # type: ignore[arg-type]
    overlays = set(REGISTRY[name].overlays)
    assert overlays <= used
    assert used <= {base for overlay in overlays for base in overlay.__mro__}


def test_good_driver_has_no_overlays() -> None:
    """Without a defect, it consists of its own classes."""
    driver = build(Options())
    assert all(is_good(type(part).__module__.removeprefix("refdriver.")) for part in vars(driver).values())
    assert broken([])(Options) is Options
