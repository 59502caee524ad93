# SPDX-License-Identifier: GPL-2.0-only
"""What an interface adds to the format of a profile, and the format that all interfaces together make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from vfio_compliance.profiles.steps import Stimulus

if TYPE_CHECKING:
    from vfio_compliance.profiles.profile import Profile


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Facts about the device, with which probing must agree. None: not claimed, so neither is it expected.

    Interfaces derive theirs from this.
    """

    def problems(self) -> Iterator[tuple[str, str]]:
        """Dotted key and message of what only shows when several keys are seen together."""
        yield from ()


class Section:
    """What one interface adds; the word by which profiles name it is ``name``."""

    name: ClassVar[str]
    #: What is judged, in a few words: "the migration region".
    about: ClassVar[str]
    #: Its keys below ``claims`` and ``stimulus``.
    claims: ClassVar[type[Claims]] = Claims
    stimulus: ClassVar[type[Stimulus]] = Stimulus

    @staticmethod
    def problems(profile: Profile) -> Iterator[tuple[str, str]]:
        """Dotted key and message of what is wrong between its keys and others."""
        yield from ()

    @staticmethod
    def contradictions(profile: Profile) -> Iterator[tuple[str, str]]:
        """The same of what is denied by the word ``none``."""
        yield from ()


def together(name: str, doc: str, base: type[Any], parts: Sequence[type[Any]]) -> type[Any]:
    """A dataclass with the keys of ``base`` and of all ``parts``, in this order."""
    kinds = dict.fromkeys([*reversed(parts), base])
    bases = [kind for kind in kinds if not any(other is not kind and issubclass(other, kind) for other in kinds)]
    return dataclass(frozen=True, kw_only=True)(type(name, tuple(bases), {"__doc__": doc, "__module__": __name__}))
