# SPDX-License-Identifier: GPL-2.0-only
"""What a container's dirty bitmaps must report, from the history of its memory (kabi v23, lines 356-385)."""

from __future__ import annotations

from typing import NamedTuple

from .pages import Pages


class Expected(NamedTuple):
    """What the bitmap of a range must report."""

    #: Written, or pinned, since they were last reported: their bits are set.
    must: Pages
    #: Mapped: their bits may be set. All others are clear.
    may: Pages
    #: Pages that nothing could have made dirty: if a device's writes are known page by page, their bits are clear.
    clean: Pages


class History:
    """The mapped pages of a container, and which of them the device may have written unreported."""

    def __init__(self, everything: bool = False) -> None:
        """``everything``: the device may write every mapped page at any time, and it is unknown which it wrote."""
        self._everything = everything
        self.mapped = Pages()
        self.pinned = Pages()
        self.tracking = False
        #: Written, or pinned for a while, since they were last reported, while tracking was on.
        self.unreported = Pages()
        #: Written while tracking was off: they need not be reported, but may be.
        self.stained = Pages()
        #: Mapped read-only: the device cannot have written them, and the specification says no more about them.
        self.readonly = Pages()
        #: Unknown whether the device may write them: either value of their bits is right.
        self.doubtful = Pages()

    def map(self, pages: Pages, *, readonly: bool = False) -> None:
        """``pages`` are mapped now; a new mapping is clean."""
        self.mapped |= pages
        if readonly:
            self.readonly |= pages

    def unmap(self, pages: Pages) -> None:
        """``pages`` are no longer mapped, and their record is gone."""
        self.mapped -= pages
        self.pinned -= pages
        self.unreported -= pages
        self.stained -= pages
        self.readonly -= pages
        self.doubtful -= pages

    def start(self) -> None:
        """Tracking began, or continued."""
        self.tracking = True

    def stop(self) -> None:
        """Tracking ended, and all records with it."""
        self.tracking = False
        self.unreported = Pages()

    def wrote(self, pages: Pages) -> None:
        """The device wrote ``pages``."""
        if self.tracking:
            self.unreported |= pages
        else:
            self.stained |= pages

    def pin(self, pages: Pages) -> None:
        """The driver pinned ``pages``: the device may write them from now on."""
        self.pinned |= pages

    def stain(self, pages: Pages) -> None:
        """``pages`` may have been written: they may be reported once, and need not be."""
        self.stained |= pages & self.mapped

    def doubt(self, pages: Pages) -> None:
        """From now on, it is unknown what the device may do to ``pages``, as long as they are mapped."""
        self.doubtful |= pages & self.mapped

    def unpin(self, pages: Pages) -> None:
        """The driver unpinned ``pages``, which may have been written until now."""
        self.pinned -= pages
        self.wrote(pages)

    def expected(self, first: int, count: int) -> Expected:
        """What the bitmap of ``count`` pages from ``first`` on must report now."""
        span = Pages.run(first, count)
        may = self.mapped & span
        must = may - self.readonly if self._everything else (self.unreported | self.pinned) & span
        clean = may - must - self.stained - self.readonly - self.doubtful
        return Expected(must, may, clean)

    def reported(self, first: int, count: int) -> None:
        """A bitmap of these pages was returned, and what it reports need not be reported again."""
        span = Pages.run(first, count)
        self.unreported -= span
        self.stained -= span
