# SPDX-License-Identifier: GPL-2.0-only
"""What dirty page tracking requires of the user program, judged by its calls of the container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from ..common.calls import Call
from ..common.words import counted
from ..run.client import Access, Bitmap, ClientJudge, ContainerCall
from ..run.container_calls import of_container
from ..uapi.type1 import DirtyPagesFlags, DmaUnmapFlags

#: What each clause requires of a client, in a sentence.
CLAUSES: Final = {
    "UNM-02": "For unmapping with the bitmap, argsz covers struct vfio_bitmap, which describes the buffer.",
    "UNM-03": "The buffer for the bitmap of unmapped pages is large enough and zeroed, and its size is in bitmap.size.",
    "DRT-06": "For GET_BITMAP, argsz covers the structure that describes the range and the buffer.",
    "DRT-08": "The buffer for the bitmap is large enough and zeroed, and its size is in bitmap.size.",
    "DRT-12": "argsz of a request covers argsz and flags.",
}

#: Bytes of argsz and flags, and of a whole call with a bitmap: with the kernel, and by message.
_HEAD: Final = 8
_WHOLE: Final = {False: 48, True: 40}

NOT_CLEARED = "the trace does not show whether the buffer of a bitmap was zero before the call"
NO_ARGUMENTS = "the trace does not have the arguments of a call of the container"
NO_BITMAP = "the trace does not have the range of a call, or the size of its bitmap"
LOST = (
    "memory was unmapped while its pages were tracked, without asking for its dirty bitmap: what the device wrote "
    "there since the bitmap was last fetched is unknown"
)


def accesses(calls: Iterable[Call]) -> Iterator[Access]:
    """The calls of a trace that show a client's use of the container, in the form for a judge of clients."""
    for call in calls:
        if access := of_container(call, call.serial):
            yield access


class DirtyJudge(ClientJudge):
    """Judges the sizes that a client passes (kabi v23, lines 332-336, 359-360, 374-383)."""

    clauses = CLAUSES

    def __init__(self, source: Any = None) -> None:
        super().__init__(source)
        #: Containers in which pages are tracked.
        self._tracking: set[int] = set()

    def take_one(self, access: Access) -> None:
        """Judge the next access."""
        if access.verb in ("gap", "close"):
            self._tracking.clear()
        elif access.called and access.verb == "dirty":
            self._dirty(access, access.called)
        elif access.called and access.verb == "dma-unmap":
            self._unmap(access, access.called)

    def _dirty(self, access: Access, call: ContainerCall) -> None:
        if call.argsz is None:
            self._ledger.undecided(NO_ARGUMENTS, "DRT-12", "DRT-06", "DRT-08")
            self._tracking.discard(access.container)
            return
        if call.argsz < _HEAD:
            self._ledger.offend(
                "DRT-12", f"argsz of {counted(_HEAD, 'byte')} at least", f"a request was made with argsz {call.argsz}"
            )
            return
        self._ledger.keep("DRT-12")
        if call.flags == DirtyPagesFlags.GET_BITMAP:
            self._asks_for_bitmap(access, call, "GET_BITMAP", "DRT-06", "DRT-08")
        elif access.value >= 0 and call.flags == DirtyPagesFlags.START:
            self._tracking.add(access.container)
        elif access.value >= 0 and call.flags == DirtyPagesFlags.STOP:
            self._tracking.discard(access.container)

    def _unmap(self, access: Access, call: ContainerCall) -> None:
        if call.flags is None and call.argsz is None:
            self._ledger.undecided(NO_ARGUMENTS, "UNM-02", "UNM-03")
        elif call.flags == DmaUnmapFlags.GET_DIRTY_BITMAP:
            self._asks_for_bitmap(access, call, "unmapping with the bitmap", "UNM-02", "UNM-03")
        elif call.flags is not None and access.value >= 0 and access.container in self._tracking:
            self._ledger.remark(LOST)

    def _asks_for_bitmap(self, access: Access, call: ContainerCall, what: str, reach: str, memory: str) -> None:
        ledger, least = self._ledger, _WHOLE[access.message]
        if call.argsz is None:
            ledger.undecided(NO_ARGUMENTS, reach, memory)
            return
        if call.argsz < least:
            ledger.offend(
                reach,
                f"argsz of {counted(least, 'byte')} at least, to cover the description of the bitmap",
                f"{what}, argsz was {call.argsz}",
            )
            return
        ledger.keep(reach)
        bitmap = call.bitmap or Bitmap()
        if call.size is None or bitmap.pgsize is None or bitmap.size is None:
            ledger.undecided(NO_BITMAP, memory)
            return
        if not call.size or not bitmap.pgsize:
            return  # a range of no pages, or pages of size 0, need no bitmap
        pages = -(-call.size // bitmap.pgsize)
        needed = -(-pages // 8)
        if bitmap.size < needed:
            ledger.offend(
                memory,
                f"{counted(needed, 'byte')} at least, a bit for each of {counted(pages, 'page')}",
                f"{what}, bitmap.size was {bitmap.size}",
            )
        elif bitmap.zero is False:
            ledger.offend(memory, "memory that was set to zero before the call", f"{what}, some of it was not")
        else:
            ledger.keep(memory)
            if bitmap.zero is None and not access.message:
                ledger.undecided(NOT_CLEARED, memory)
