# SPDX-License-Identifier: GPL-2.0-only
"""What profiles claim, and how the claims of all interfaces become one record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Facts about the device, with which probing must agree. None: not claimed, and not expected.

    Interfaces derive theirs from this.
    """

    def problems(self) -> Iterator[tuple[str, str]]:
        """Dotted key and message of problems that only several keys together show."""
        yield from ()


def together(name: str, doc: str, base: type[Any], parts: Sequence[type[Any]]) -> type[Any]:
    """A dataclass with the keys of ``base`` and of all ``parts``, in this order."""
    kinds = dict.fromkeys([*reversed(parts), base])
    bases = [kind for kind in kinds if not any(other is not kind and issubclass(other, kind) for other in kinds)]
    return dataclass(frozen=True, kw_only=True)(type(name, tuple(bases), {"__doc__": doc, "__module__": __name__}))
