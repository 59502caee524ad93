# SPDX-License-Identifier: GPL-2.0-only
"""Information with capabilities, of the container."""

from __future__ import annotations

from errno import EINVAL, ENOTTY

from ...overlays import defect
from ...refusal import Refusal
from ...socket import wire
from ...socket.chain import Capability
from ...socket.requests import Answer
from ..container import Container
from ..container_info import INFO, LEAST, Information
from ..dirty import DirtyTracker
from ..ranges import EVERYWHERE


class Fitting(Information):
    """Answers an argsz without room for the capabilities in its own way."""

    def _fit(self, argsz: int, first: int, links: bytes) -> bytes:
        if argsz >= INFO.size + len(links):
            return super()._fit(argsz, first, links)
        return self._fit_short(argsz, first, links)

    def _fit_short(self, argsz: int, first: int, links: bytes) -> bytes:
        return super()._fit(argsz, first, links)


@defect("info-argsz-kept", "container information that does not fit leaves argsz as it was")
class ArgszKept(Fitting):
    def _fit_short(self, argsz: int, first: int, links: bytes) -> bytes:
        return self._fixed(argsz, 0)[:argsz]


@defect("info-past-argsz", "the container's capabilities are written although argsz has no room for them")
class PastArgsz(Fitting):
    def _fit_short(self, argsz: int, first: int, links: bytes) -> bytes:
        return self._fixed(INFO.size + len(links), first) + links


@defect("info-part-of-chain", "the container's capabilities are cut off anywhere to fit argsz")
class PartOfChain(Fitting):
    def _fit_short(self, argsz: int, first: int, links: bytes) -> bytes:
        return (self._fixed(INFO.size + len(links), first) + links)[:argsz]


@defect("info-short-refused", "an argsz without room for the container's capabilities is refused")
class ShortRefused(Fitting):
    def _fit_short(self, argsz: int, first: int, links: bytes) -> bytes:
        raise Refusal(EINVAL)


@defect("info-tiny-accepted", "container information is given whatever argsz is, even 0")
class TinyAccepted(Information):
    def _answer(self, argsz: int) -> bytes:
        return super()._answer(max(argsz, LEAST))


class Leading(Information):
    """The last of its capabilities points to another one."""

    def _fit(self, argsz: int, first: int, links: bytes) -> bytes:
        at = first - INFO.size
        while following := wire.CAPABILITY.unpack_from(links, at)[2]:
            at = following - INFO.size
        ident, version, _ = wire.CAPABILITY.unpack_from(links, at)
        link = wire.CAPABILITY.pack(ident, version, self._leads_to(argsz, first))
        return super()._fit(argsz, first, links[:at] + link + links[at + len(link) :])

    def _leads_to(self, argsz: int, first: int) -> int:
        raise NotImplementedError


@defect("info-chain-loops", "the last of the container's capabilities points back to the first")
class ChainLoops(Leading):
    def _leads_to(self, argsz: int, first: int) -> int:
        return first


@defect("info-chain-outside", "the last of the container's capabilities points past argsz")
class ChainOutside(Leading):
    def _leads_to(self, argsz: int, first: int) -> int:
        return -(-argsz // 8) * 8


@defect("info-chain-cut", "the last of the container's capabilities lacks its last 8 bytes, which argsz does not count")
class ChainCut(Information):
    def _fit(self, argsz: int, first: int, links: bytes) -> bytes:
        return super()._fit(argsz, first, links[:-8])


class Unannounced(Information):
    """Does not say that dirty pages are tracked."""

    def _capabilities(self) -> list[Capability]:
        return super()._capabilities()[1:] if self._is_silent() else super()._capabilities()

    def _is_silent(self) -> bool:
        return True


defect("tracking-unannounced", "dirty pages are tracked, but no migration capability says so")(Unannounced)


@defect("tracking-announced-only", "the migration capability is there, but START answers ENOTTY")
class AnnouncedOnly(Container):
    def _track(self, argsz: int, flags: int, body: bytes) -> Answer:
        if flags == wire.DIRTY_START:
            raise Refusal(ENOTTY)
        return super()._track(argsz, flags, body)


@defect("tracking-unannounced-while-on", "no migration capability says so while pages are tracked")
class UnannouncedWhileOn(Unannounced):
    def _is_silent(self) -> bool:
        return self._tracker.tracking


@defect("tracking-start-needs-mapping", "START is refused while nothing is mapped")
class StartNeedsMapping(DirtyTracker):
    def start(self) -> None:
        if not self.tracking and not self._mapped(*EVERYWHERE):
            raise Refusal(EINVAL)
        super().start()


def announcing(
    *,
    ident: int | None = None,
    version: int | None = None,
    page_sizes: int | None = None,
    factor: int = 1,
) -> type[Information]:
    """Information with another migration capability; the largest bitmap is multiplied by ``factor``."""

    class Announcing(Information):
        def _tracking(self, sizes: int, largest: int) -> Capability:
            true = super()._tracking(sizes if page_sizes is None else page_sizes, largest * factor)
            return Capability(
                true.ident if ident is None else ident, true.version if version is None else version, true.content
            )

    return Announcing


defect("capability-id-3", "the migration capability has id 3")(announcing(ident=3))
defect("capability-id-1", "the migration capability has id 1, as in the specification as posted")(announcing(ident=1))
defect("capability-version-0", "the migration capability has version 0")(announcing(version=0))
defect("capability-page-sizes-none", "the migration capability lists no page size")(announcing(page_sizes=0))
defect(
    "capability-page-size-unsupported",
    "the migration capability lists 8 KiB, which the container does not support",
)(announcing(page_sizes=8 << 10))
defect("capability-page-size-huge", "the migration capability lists only 2 MiB, for which no bitmap is given")(
    announcing(page_sizes=2 << 20)
)
defect("capability-largest-zero", "the largest bitmap is announced as 0 bytes")(announcing(factor=0))
defect("capability-largest-in-pages", "the largest bitmap is announced in pages, not in bytes")(announcing(factor=8))
