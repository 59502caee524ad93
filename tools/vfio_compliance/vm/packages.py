# SPDX-License-Identifier: GPL-2.0-only
"""Which Debian packages make up a kernel: pure functions over the output of apt."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_FAMILY = re.compile(r"linux-(image|binary|modules|headers|kbuild|base)-.*\d")


@dataclass(frozen=True)
class Package:
    """One stanza of a package index. ``depends``: first choice of each dependency; ``size`` in bytes."""

    name: str
    version: str
    size: int
    depends: tuple[str, ...]


def parse(text: str) -> dict[str, Package]:
    """The packages of an index by name, with the newest version of each."""
    found: dict[str, Package] = {}
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z-]+): *(.*)$", stanza, re.MULTILINE))
        if "Package" not in fields or "Version" not in fields:
            continue
        package = Package(
            fields["Package"],
            fields["Version"],
            int(fields.get("Size", "0")),
            tuple(_first_choices(fields.get("Depends", ""))),
        )
        other = found.get(package.name)
        if other is None or version_key(package.version) > version_key(other.version):
            found[package.name] = package
    return found


def _first_choices(depends: str) -> Iterator[str]:
    for clause in depends.split(","):
        name = re.match(r"\s*([a-z0-9][a-z0-9.+-]*)", clause)
        if name:
            yield name[1]


def release_of(image: str, series: str) -> str | None:
    """The release that an image package boots if it belongs to a series, else None.

    ``6.1`` includes ``linux-image-6.1.0-56-amd64`` but not ``linux-image-6.12.95+deb12-amd64``; a series may
    also be a full version. Real-time, cloud and unsigned images are left out.
    """
    match = re.fullmatch(rf"linux-image-({re.escape(series)}(?![0-9])[0-9.+a-z-]*-amd64)", image)
    if match is None or re.search(r"-(rt|cloud)-", match[1]):
        return None
    return match[1]


def newest(names: Iterable[str], series: str) -> str | None:
    """The newest release of a series that has both an image and headers among the package names."""
    known = set(names)
    releases = [r for r in (release_of(n, series) for n in known) if r and f"linux-headers-{r}" in known]
    return max(releases, key=version_key, default=None)


def closure(index: dict[str, Package], release: str) -> list[Package]:
    """The image, the headers and those kernel packages that they need, sorted by name."""
    wanted = [f"linux-image-{release}", f"linux-headers-{release}"]
    taken: dict[str, Package] = {}
    while wanted:
        name = wanted.pop()
        if name not in taken and name in index:
            taken[name] = index[name]
            wanted += [n for n in index[name].depends if _FAMILY.match(n)]
    return [taken[name] for name in sorted(taken)]


def version_key(version: str) -> tuple[tuple[int, int | str], ...]:
    """A sort key for Debian's order: numbers by value, ``~`` before the end, letters before signs."""
    parts: list[tuple[int, int | str]] = []
    for number, sign in re.findall(r"(\d+)|(\D)", version):
        if number:
            parts.append((1, int(number)))
        elif sign == "~":
            parts.append((0, sign))
        else:
            parts.append((2 if sign.isalpha() else 3, sign))
    return (*parts, (1, 0))
