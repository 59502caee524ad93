# SPDX-License-Identifier: GPL-2.0-only

"""Files of waivers, and what those of a run are together."""

from __future__ import annotations

import datetime
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from vfio_compliance.profiles.document import Document, Problem, ProfileError, Source
from vfio_compliance.profiles.kinds import OneOfNumbers
from vfio_compliance.profiles.loader import read
from vfio_compliance.profiles.profile import FORMAT, Profile
from vfio_compliance.profiles.records import Record, key
from vfio_compliance.profiles.waiver import TELL_APART, WAIVERS, Waiver, conflicts, problems


@dataclass(frozen=True, kw_only=True)
class WaiverFile:
    """The format of a file of waivers, and what loading one gives."""

    format: int = key(OneOfNumbers(FORMAT), "Version of this format.")
    waivers: tuple[Waiver, ...] = key(WAIVERS, "Known deviations of the device.")

    source: Source = field(default=Source(), repr=False, compare=False)

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from problems(self.waivers)


FILE = Record(WaiverFile)
_OF_A_PROFILE = {name: "; it belongs to a profile" for name in Record(Profile).kinds if name not in FILE.kinds}


class Listed(NamedTuple):
    """A waiver of a run, and `file:line:column` of it."""

    waiver: Waiver
    where: str


def load(path: str | os.PathLike[str]) -> WaiverFile:
    """Read a file of waivers. Raises ProfileError with everything that is wrong with it."""
    document = Document(os.fspath(path), "list of waivers", "it needs `format: 1` and `waivers`")
    written: WaiverFile = read(document, FILE, _OF_A_PROFILE)
    return WaiverFile(format=written.format, waivers=written.waivers, source=document.source())


def together(profile: Profile, files: Iterable[WaiverFile], known: Collection[str]) -> list[Listed]:
    """The waivers of a profile, then those of files.

    Raises ProfileError for one of a rule that is not `known`, and for two that are for the same failure.
    """
    holders: list[Profile | WaiverFile] = [profile, *files]
    placed = [(each.source, index, waiver) for each in holders for index, waiver in enumerate(each.waivers)]
    problems = [problem for each in holders for problem in unknown_rules(each.source, each.waivers, known)]
    for index, earlier in conflicts([waiver for _, _, waiver in placed]):
        source, place, waiver = placed[index]
        first, its_place, _ = placed[earlier]
        at = first.where(f"waivers.{its_place}")
        message = f"`{waiver.rule}` is waived already, at {at}; {TELL_APART}"
        problems.append(source.problem(f"waivers.{place}.rule", message))
    if problems:
        raise ProfileError(problems)
    return [Listed(waiver, source.where(f"waivers.{index}")) for source, index, waiver in placed]


def unknown_rules(source: Source, waivers: Iterable[Waiver], known: Collection[str]) -> list[Problem]:
    """A problem for each waiver of a rule whose id is not `known`."""
    return source.unknown_rules({f"waivers.{index}.rule": each.rule for index, each in enumerate(waivers)}, known)


def expired(source: Source, waivers: Iterable[Waiver], today: datetime.date) -> list[Problem]:
    """A problem for each waiver whose last day is over."""
    return [
        source.problem(f"waivers.{index}.expires", f"the waiver of `{each.rule}` has expired; renew or remove it")
        for index, each in enumerate(waivers)
        if each.expired(today)
    ]
