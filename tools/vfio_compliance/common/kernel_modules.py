# SPDX-License-Identifier: GPL-2.0-only
"""Names of kernel modules, and what a folder of modules lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Listed(NamedTuple):
    """A module of a kernel's own folder."""

    name: str
    path: str
    #: Paths of its dependencies, in the order of the list: the nearest first.
    needs: list[str]


def kernel_name(text: str) -> str:
    """The name of a module as the kernel spells it."""
    return text.strip().replace("-", "_")


def name_of(path: str) -> str:
    """The name of the module in a file, compressed or not."""
    return kernel_name(path.rpartition("/")[2].partition(".ko")[0])


def listed(folder: Path) -> Iterator[Listed]:
    """The modules of a kernel by ``modules.dep`` in its folder; none if that cannot be read."""
    try:
        lines = (folder / "modules.dep").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        path, _, needs = line.partition(":")
        yield Listed(name_of(path), f"{folder}/{path}", needs.split())
