# SPDX-License-Identifier: GPL-2.0-only
"""What the device has to do with its stream where the record of pages goes wrong by it."""

from __future__ import annotations

from ...container.defects.recording import Distinguishing, unrecorded
from ...overlays import defect, part_of
from ..machine import Machine

#: What the stream of a device waits in addition, where its writes have to be told apart.
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
        """Seldom, for a write that is recorded between bitmap and stop hides the one that is not."""
        super()._write_stream()
        self._stream_due += _SELDOM_NS

    def halt(self) -> None:
        if self.streaming:
            with unrecorded(self.guest.dirty):
                self._write_stream()
        super().halt()
