# SPDX-License-Identifier: GPL-2.0-only
"""The list of package versions has every dependency of the project, and installations use it."""

from __future__ import annotations

import configparser
import re
import sys
from itertools import chain
from pathlib import Path

import pytest

from vfio_compliance import __version__
from vfio_compliance.vm import host

# Python 3.10 has tomli.
tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")


def plain(name: str) -> str:
    """The name of a package, normalised as registries do."""
    found = re.match(r"[\w.-]+", name)
    assert found is not None
    return re.sub("[-_.]+", "-", found[0]).lower()


@pytest.fixture
def versions(project: Path) -> dict[str, str]:
    """The lines of the list, by package."""
    lines = (project / "tools" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {plain(line): line for line in lines if line and not line.startswith("#")}


def test_every_dependency_has_a_version(project: Path, versions: dict[str, str]) -> None:
    """Those of the program, of each extra and of the build, and tox itself."""
    about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    extras = chain.from_iterable(about["project"]["optional-dependencies"].values())
    required = [*about["build-system"]["requires"], *about["project"]["dependencies"], *extras, "tox"]
    assert {plain(each) for each in required} - versions.keys() == set()


def test_each_version_is_exact(versions: dict[str, str]) -> None:
    """A line has one exact version, and at most a marker for older Pythons."""
    pattern = r'[\w.-]+==[\w.]+(; python_version >= "3\.\d+")?'
    assert [line for line in versions.values() if not re.fullmatch(pattern, line)] == []


def test_tox_installs_by_the_list(project: Path) -> None:
    """Every environment uses the list, unless it is replaced from outside."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(project / "tox.ini", encoding="utf-8")
    assert settings["constraints"]["file"] == "{env:VFIO_CONSTRAINTS:{tox_root}/tools/constraints.txt}"
    assert "-c {[constraints]file}" in settings["testenv"]["deps"]
    assert settings["testenv"]["constrain_package_deps"] == "true"
    assert [name for name in settings.sections() if name.startswith("testenv:") and "deps" in settings[name]] == []


def test_debian_package_has_the_version(project: Path) -> None:
    """The version of the program."""
    changes = (project / "tools" / "packaging" / "debian" / "changelog").read_text(encoding="utf-8")
    assert changes.startswith(f"vfio-compliance ({__version__}) ")


@pytest.mark.parametrize("recipe", ["Containerfile", "debian/control"])
def test_recipes_have_the_packages_for_virtual_machines(project: Path, recipe: str) -> None:
    """Each Debian package that `vm` asks its user to install."""
    packages = [
        line.partition("apt-get install ")[2] for line in host.missing([*host.BOOT, *host.BUILD], lambda _: None)
    ]
    words = set(re.findall(r"[a-z0-9][\w.+-]*", (project / "tools" / "packaging" / recipe).read_text(encoding="utf-8")))
    assert {name for name in packages if name} - words == {"coreutils"}
