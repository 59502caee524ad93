# SPDX-License-Identifier: GPL-2.0-only
"""What the device does with its stream for defects in which the stream makes the record of pages wrong."""

from __future__ import annotations

from ...container.defects.recording import Distinguishing, unrecorded
from ...overlays import defect, part_of
from ..machine import Machine

#: The additional delay of a stream whose writes must be distinguished.
_SELDOM_NS = 15_000_000


@part_of("bitmap-race", "stream-untracked")
class Streaming(Machine):
    """Says which writes are those of the DMA stream."""

    def _write_stream(self) -> None:
        tracker = self.guest.dirty
        assert isinstance(tracker, Distinguishing)
        tracker.streaming = True
        super()._write_stream()
        tracker.streaming = False


@defect("stop-writes-unseen", "a stop makes one last write of the DMA stream before it returns, which is not recorded")
class StopWritesUnseen(Machine):
    def _write_stream(self) -> None:
        """Seldom, because a write recorded between bitmap and stop hides the one that is not."""
        super()._write_stream()
        self._stream_due += _SELDOM_NS

    def halt(self) -> None:
        if self.streaming:
            with unrecorded(self.guest.dirty):
                self._write_stream()
        super().halt()
