# SPDX-License-Identifier: GPL-2.0-only
"""Tracking requests: their argsz and their flags."""

from __future__ import annotations

from errno import EINVAL

from ...overlays import defect
from ...refusal import Refusal
from ...socket import wire
from ...socket.requests import Answer, fields
from ..container import GET_FIXED, Container
from ..dirty import DirtyTracker
from .tolerance import LARGEST_BITMAP

_ONE_FLAG = (wire.DIRTY_START, wire.DIRTY_STOP, wire.DIRTY_GET)
_FLAGS = wire.DIRTY_START | wire.DIRTY_STOP | wire.DIRTY_GET
#: The least argsz that is negative as a signed number.
_NEGATIVE = 1 << 15


@defect("dirty-restart-refused", "START is refused while pages are tracked already")
class RestartRefused(DirtyTracker):
    def start(self) -> None:
        if self.tracking:
            raise Refusal(EINVAL)
        super().start()


@defect("dirty-argsz-ignored", "tracking requests with an argsz of 0 to 7 succeed")
class ArgszIgnored(Container):
    def _track(self, argsz: int, flags: int, body: bytes) -> Answer:
        return super()._track(max(argsz, wire.DIRTY.size), flags, body)


@defect("dirty-argsz-stop-unchecked", "STOP with an argsz of 0 to 7 succeeds")
class ArgszOfStopUnchecked(Container):
    def _track(self, argsz: int, flags: int, body: bytes) -> Answer:
        return super()._track(wire.DIRTY.size if flags == wire.DIRTY_STOP else argsz, flags, body)


class Applying(Container):
    """Starts or stops tracking on some requests that it refuses."""

    def _track(self, argsz: int, flags: int, body: bytes) -> Answer:
        try:
            return super()._track(argsz, flags, body)
        except Refusal:
            if self._applies(argsz, flags):
                if flags & wire.DIRTY_STOP:
                    self._dirty.stop()
                elif flags & wire.DIRTY_START:
                    self._dirty.start()
            raise

    def _applies(self, argsz: int, flags: int) -> bool:
        return False


@defect("dirty-argsz-refused-but-applied", "START or STOP with an argsz of 0 to 7 answers an error, yet takes effect")
class ArgszRefusedButApplied(Applying):
    def _applies(self, argsz: int, flags: int) -> bool:
        return argsz < wire.DIRTY.size or super()._applies(argsz, flags)


@defect("dirty-argsz-exact-only", "tracking requests whose argsz is larger than needed are refused")
class ArgszExactOnly(Container):
    def _track(self, argsz: int, flags: int, body: bytes) -> Answer:
        needed = wire.DIRTY.size
        if flags == wire.DIRTY_GET:
            needed = GET_FIXED + min(fields(wire.DIRTY_RANGE, body, wire.DIRTY.size)[3], LARGEST_BITMAP)
        if argsz > needed:
            raise Refusal(EINVAL)
        return super()._track(argsz, flags, body)


@defect("dirty-argsz-signed", "START and STOP with an argsz of 2^15 or more are refused")
class ArgszSigned(Container):
    def _track(self, argsz: int, flags: int, body: bytes) -> Answer:
        if argsz >= _NEGATIVE and flags != wire.DIRTY_GET:
            raise Refusal(EINVAL)
        return super()._track(argsz, flags, body)


@defect("flags-two-accepted", "if several flags are set, the lowest one counts")
class TwoAccepted(Container):
    def _track(self, argsz: int, flags: int, body: bytes) -> Answer:
        return super()._track(argsz, flags if flags & ~_FLAGS else flags & -flags, body)


@defect("flags-none-accepted", "a tracking request without a flag succeeds and does nothing")
class NoneAccepted(Container):
    def _track(self, argsz: int, flags: int, body: bytes) -> Answer:
        return super()._track(argsz, flags, body) if flags else Answer(b"")


@defect("flags-unknown-ignored", "unknown flags of a tracking request are ignored; alone they succeed and do nothing")
class UnknownIgnored(Container):
    def _track(self, argsz: int, flags: int, body: bytes) -> Answer:
        known = flags & _FLAGS
        return Answer(b"") if flags and not known else super()._track(argsz, known, body)


@defect("flags-upper-half-ignored", "bits 16 to 31 of the flags are ignored beside a known flag")
class UpperHalfIgnored(Container):
    def _track(self, argsz: int, flags: int, body: bytes) -> Answer:
        return super()._track(argsz, flags & 0xFFFF if flags & _FLAGS else flags, body)


@defect("flags-refused-but-applied", "a request refused for its flags starts or stops tracking nevertheless")
class FlagsRefusedButApplied(Applying):
    def _applies(self, argsz: int, flags: int) -> bool:
        return flags not in _ONE_FLAG or super()._applies(argsz, flags)


@defect("tracking-flags-renumbered", "START is 2 and STOP is 1")
class Renumbered(Container):
    def _track(self, argsz: int, flags: int, body: bytes) -> Answer:
        swapped = {wire.DIRTY_START: wire.DIRTY_STOP, wire.DIRTY_STOP: wire.DIRTY_START}
        return super()._track(argsz, swapped.get(flags, flags), body)
