# SPDX-License-Identifier: GPL-2.0-only

"""Files of waivers, and all waivers of a run."""

from __future__ import annotations

import datetime
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from vfio_compliance.common.rule_names import current
from vfio_compliance.profiles import kernel_warning
from vfio_compliance.profiles.document import Document, Problem, ProfileError, Source
from vfio_compliance.profiles.kernel_warning import KERNEL_WARNINGS, KernelWarning
from vfio_compliance.profiles.kinds import OneOfNumbers
from vfio_compliance.profiles.loader import read
from vfio_compliance.profiles.profile import FORMAT, Profile
from vfio_compliance.profiles.records import Record, key
from vfio_compliance.profiles.waiver import TELL_APART, WAIVERS, Waiver, conflicts, problems


@dataclass(frozen=True, kw_only=True)
class WaiverFile:
    """The format of a file of waivers, and the result of loading one."""

    format: int = key(OneOfNumbers(FORMAT), "Version of this format.")
    waivers: tuple[Waiver, ...] = key(WAIVERS, "Known deviations of the device.")
    kernel_warnings: tuple[KernelWarning, ...] = key(
        KERNEL_WARNINGS, "Known kernel warnings while the device is used.", default=()
    )

    source: Source = field(default=Source(), repr=False, compare=False)

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from problems(self.waivers)
        yield from kernel_warning.problems(self.kernel_warnings)


FILE = Record(WaiverFile)
_OF_A_PROFILE = {name: "; it belongs to a profile" for name in Record(Profile).kinds if name not in FILE.kinds}


class Listed(NamedTuple):
    """A waiver of a run, and `file:line:column` of it."""

    waiver: Waiver
    where: str


def load(path: str | os.PathLike[str]) -> WaiverFile:
    """Read a file of waivers. Raises ProfileError with all of its errors."""
    document = Document(os.fspath(path), "list of waivers", "it needs `format: 1` and `waivers`")
    written: WaiverFile = read(document, FILE, _OF_A_PROFILE)
    return replace(written, source=document.source())


def together(profile: Profile, files: Iterable[WaiverFile], known: Collection[str]) -> list[Listed]:
    """The waivers of a profile, then those of files.

    Raises ProfileError for a waiver of a rule that is not `known`, and for two that match the same failure.
    """
    holders: list[Profile | WaiverFile] = [profile, *files]
    written = [
        (each.source, [replace(waiver, rule=current(waiver.rule)) for waiver in each.waivers]) for each in holders
    ]
    placed = [(source, index, waiver) for source, waivers in written for index, waiver in enumerate(waivers)]
    problems = [problem for source, waivers in written for problem in unknown_rules(source, waivers, known)]
    for index, earlier in conflicts([waiver for _, _, waiver in placed]):
        source, place, waiver = placed[index]
        first, its_place, _ = placed[earlier]
        at = first.where(f"waivers.{its_place}")
        message = f"`{waiver.rule}` is waived already, at {at}; {TELL_APART}"
        problems.append(source.problem(f"waivers.{place}.rule", message))
    if problems:
        raise ProfileError(problems)
    return [Listed(waiver, source.where(f"waivers.{index}")) for source, index, waiver in placed]


class ListedWarning(NamedTuple):
    """A waiver of a kernel warning, and its `file:line:column`."""

    warning: KernelWarning
    where: str


def warnings_together(profile: Profile, files: Iterable[WaiverFile]) -> list[ListedWarning]:
    """The waivers of warnings of a profile, then those of files. Raises ProfileError if two match the same warning."""
    holders: list[Profile | WaiverFile] = [profile, *files]
    placed = [(each.source, index, warning) for each in holders for index, warning in enumerate(each.kernel_warnings)]
    problems = []
    for index, earlier in kernel_warning.conflicts([warning for _, _, warning in placed]):
        (source, place, warning), (first, its_place, _) = placed[index], placed[earlier]
        message = f"the warning in `{warning.function}` is waived already, at "
        message += first.where(f"kernel_warnings.{its_place}")
        problems.append(source.problem(f"kernel_warnings.{place}.function", message))
    if problems:
        raise ProfileError(problems)
    return [ListedWarning(warning, source.where(f"kernel_warnings.{index}")) for source, index, warning in placed]


def unknown_rules(source: Source, waivers: Iterable[Waiver], known: Collection[str]) -> list[Problem]:
    """A problem for each waiver of a rule whose id is not `known`."""
    return source.unknown_rules({f"waivers.{index}.rule": each.rule for index, each in enumerate(waivers)}, known)


def expired(holder: Profile | WaiverFile, today: datetime.date) -> list[Problem]:
    """A problem for each waiver whose last day is over."""
    over = {f"waivers.{index}": each.rule for index, each in enumerate(holder.waivers) if each.expired(today)}
    over |= {
        f"kernel_warnings.{index}": each.function
        for index, each in enumerate(holder.kernel_warnings)
        if each.expires < today
    }
    return [
        holder.source.problem(f"{place}.expires", f"the waiver of `{what}` has expired; renew or remove it")
        for place, what in over.items()
    ]
