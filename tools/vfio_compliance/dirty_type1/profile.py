# SPDX-License-Identifier: GPL-2.0-only

"""What dirty page tracking adds to the format of a profile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ..profiles import Claims, Profile, Section
from ..profiles.kinds import Choice, Size
from ..profiles.records import key


@dataclass(frozen=True, kw_only=True)
class DirtyClaims(Claims):
    """What is claimed about the pages that a container reports."""

    page_size: int | None = key(
        Size("4KiB", "1GiB", power_of_two=True), "Granularity of dirty page tracking.", default=None
    )
    dirty_scope: Literal["everything", "written"] | None = key(
        Choice("everything", "written"),
        "Which pages are reported dirty: every mapped one (a device behind an IOMMU that pins nothing), or those alone "
        "that were written or are pinned.",
        default=None,
    )


class DirtySection(Section):
    """The keys of dirty page tracking."""

    name = "dirty_type1"
    about = "the container's dirty page tracking"
    claims = DirtyClaims

    @staticmethod
    def contradictions(profile: Profile) -> Iterator[tuple[str, str]]:
        """A device that writes nothing shows no page as dirty."""
        if DirtySection.name in profile.interfaces and "stimulus.dirty" in profile.denied:
            advice = "leave dirty_type1 out of `interfaces`, or leave this key out"
            yield (
                "stimulus.dirty",
                f"dirty_type1 is judged by what the device writes, so this cannot be `none`; {advice}",
            )
