# SPDX-License-Identifier: GPL-2.0-only
"""The ways in which the device can be broken on purpose, one rule each.

A name here is looked up, by that name, at the place in the code where a driver would naturally go wrong.
The kernel module of the same device knows the same names, except those of what the kernel itself does for its drivers.
"""

from __future__ import annotations

from collections.abc import Iterable

DEFECTS: dict[str, str] = {
    # Finding the region.
    "region-subtype-zero": "the type capability of the migration region says subtype 0",
    "region-type-missing": "the migration region has no type capability",
    # The header.
    "header-shifted": "all registers of the migration region lie 8 bytes further",
    "pending-misplaced": "pending_bytes lies at 4 and reserved at 12",
    "width-byte-read-accepted": "1-byte reads of a register succeed",
    "width-straddling-read-accepted": "reads that span several registers succeed",
    "width-halfword-write-applied": "a 2-byte write of device_state is taken",
    "width-refused-but-applied": "a 1-byte write of device_state answers an error, yet takes effect",
    # device_state.
    "state-read-stale": "device_state reads the state before the last change",
    "state-write-short": "a successful write of device_state reports 0 bytes written",
    "state-failure-silent": "a refused write of device_state answers success; the state is kept",
    "state-failure-short": "a refused write of device_state answers a short count (2) instead of an error",
    "state-failure-stores": "a refused write of device_state stores the new bits all the same",
    "state-failure-reports-7": "after a refused write device_state reads 111b",
    "state-latched-after-failure": "after one refused write every later one is refused too, until reset",
    "state-invalid-5-accepted": "101b is accepted and read back",
    "state-invalid-7-accepted": "111b is accepted and read back",
    "state-error-accepted": "a user's write of 110b succeeds and is read back",
    "state-changes-by-itself": "reading pending_bytes in stop-and-copy turns the state into STOP",
    "stop-and-copy-reads-stop": "010b reads back as 000b",
    "reserved-bits-confuse": "a write with one of bits 3-31 set is stored whole, bits 0-2 shifted by one",
    # Reset, open and close.
    "reset-keeps-state": "reset succeeds and leaves device_state unchanged",
    "reset-refused-in-stop": "reset fails in STOP",
    "reset-keeps-error": "reset does not leave the error state",
    "reset-to-stop": "reset ends in STOP",
    "error-left-by-write": "writing RUNNING leaves the error state",
    "open-in-stop": "whoever opens the device finds it in STOP",
    "close-needs-stop": "a device closed outside STOP keeps its state for the next user",
    # Running and stopping.
    "running-bit-inverted": "the device works while bit 0 is clear and stands still while it is set",
    "stop-late": "the device goes on for 20 ms after the write that stops it has returned",
    "stop-dma-continues": "the DMA stream goes on while the device is stopped",
    "stop-and-copy-keeps-running": "stop-and-copy does not stop the device",
    "pre-copy-stops": "the device stands still in pre-copy",
    "resumed-stays-stopped": "after RESUMING -> RUNNING the device stands still",
    # Transitions.
    "stop-refused": "RUNNING -> STOP is refused",
    "stop-and-copy-to-stop-refused": "stop-and-copy -> STOP is refused",
    "pre-copy-refused": "RUNNING -> pre-copy is refused",
    "pre-copy-to-stop-and-copy-refused": "pre-copy -> stop-and-copy is refused",
    "resuming-refused": "RUNNING -> RESUMING is refused",
    "pre-copy-must-drain": "leaving pre-copy answers EBUSY while pending_bytes > 0",
    "stop-and-copy-must-drain": "leaving stop-and-copy answers EBUSY while pending_bytes > 0",
    "undrawn-wrong-state": "a transition that is not drawn succeeds but ends in a third state",
    "self-write-moves": "writing the present state again succeeds and puts the device into STOP",
    # Saving.
    "saving-ignored": "no data is ever offered: pending_bytes stays 0",
    "save-stream-truncated": "the stream ends before its last buffer",
    "pre-copy-snapshot-only": "the stream after a pre-copy holds the state as it was on entering pre-copy",
    "pre-copy-drops-late-change": "what changed in the second half of memory after pre-copy offered it is not sent",
    "pending-read-advances": "each further read of pending_bytes before a buffer drops one",
    "pending-read-changes-buffer": "a further read of pending_bytes corrupts the first byte of the next buffer",
    "pending-returns": "in stop-and-copy pending_bytes is 0 once before the last buffer, then more again",
    "pending-zero-early": "pending_bytes reads 0 while the last buffer is still to come",
    "two-pending-reads-needed": "a buffer is offered only after a second read of pending_bytes",
    "offset-refused-while-pending": "in stop-and-copy the first read of data_offset answers EAGAIN",
    "offset-read-advances": "each further read of data_offset goes on to the next buffer",
    "offset-returns-early": "data_offset is read 20 ms before the last byte is there",
    "data-lazy-on-size": "the data appears only when data_size is read",
    "size-zero-while-pending": "the first iteration has a data_size of 0 although bytes are pending",
    "size-off-by-one": "data_size is one less than what was made available",
    "size-read-once": "a second read of data_size gives 0",
    "data-size-read-refused": "reading data_size while saving answers EINVAL",
    "buffer-never-advances": "the same buffer is offered for ever",
    "buffer-resent": "the first buffer is offered again in place of the second one",
    "fault-truncates": "a fault while saving ends the stream silently",
    "fault-bad-data": "a fault while saving is not reported, and the buffer is garbage",
    # Resuming.
    "resuming-data-refused": "a write of data_size in RESUMING is refused",
    "resuming-data-ignored": "data written in RESUMING is thrown away",
    "resume-last-buffer-only": "only the last buffer written in RESUMING counts",
    "resume-drops-a-buffer": "the second buffer is accepted and thrown away",
    "second-offset-refused": "in RESUMING data_offset can be read once only",
    "data-write-whole-only": "a buffer has to be written at once; pieces answer EINVAL",
    "data-consumed-late": "a buffer is consumed only at the next write of data_size, or when RESUMING is left",
    "bad-data-wedges": "once damaged data was refused every reset fails",
    "early-leave-wedges": "leaving RESUMING without data succeeds, and device_state reads 101b then",
    # The other fields.
    "reserved-garbage": "reserved reads 0xdeadbeef",
    "reserved-read-refused": "reading reserved answers EINVAL",
    "reserved-write-refused": "writing reserved answers EINVAL",
    "reserved-stored": "reserved keeps and returns what was written",
    "pending-writable": "a write of pending_bytes sets it",
    "data-offset-writable": "a write of data_offset moves it",
    # The data section.
    "data-offset-zero": "data_offset reads 0",
    "data-offset-unaligned": "data_offset lies 8 bytes past a page start although it may be mapped",
    "area-covers-registers": "the mappable area starts at 0",
    "area-outside-region": "the mappable area reaches one page past the region's end",
    "offset-outside-section": "for the last buffer data_offset + data_size lies past the region's end",
    "data-read-refused": "what may be mapped cannot be read with a read",
    "data-read-whole-only": "a buffer has to be read at once; other reads answer EINVAL",
    "data-read-once": "bytes of a buffer read zero the second time",
    "mapped-view-stale": "mapped memory shows the buffer before the present one",
    "partition-torn": "reads past the first half of the data section are shifted by one byte",
    # What the next three groups break, a kernel does for its drivers, so the module has none of them.
    # Information with capabilities.
    "region-info-argsz-kept": "region information that does not fit leaves argsz as it was",
    "region-info-past-argsz": "the capabilities of a region are written although argsz has no room for them",
    "info-argsz-kept": "container information that does not fit leaves argsz as it was",
    "info-past-argsz": "the container's capabilities are written although argsz has no room for them",
    "info-short-refused": "an argsz without room for the container's capabilities is refused",
    "info-tiny-accepted": "container information is given out whatever argsz says, 0 too",
    "info-chain-loops": "the last of the container's capabilities leads back to the first",
    "info-chain-outside": "the last of the container's capabilities leads past argsz",
    "tracking-unannounced": "dirty pages are tracked, but no migration capability says so",
    "tracking-announced-only": "the migration capability is there, but START answers ENOTTY",
    "capability-id-3": "the migration capability goes by id 3",
    "capability-version-0": "the migration capability is of version 0",
    "capability-page-sizes-none": "the migration capability lists no page size",
    "capability-page-size-unsupported": "the migration capability lists 8 KiB, which the container does not support",
    "capability-largest-zero": "the largest bitmap is announced as 0 bytes",
    # Dirty pages: tracking and its bitmap.
    "dirty-restart-refused": "beginning to track dirty pages again is refused",
    "dirty-argsz-ignored": "tracking requests with an argsz of 0 to 7 succeed",
    "dirty-argsz-exact-only": "tracking requests whose argsz is larger than needed are refused",
    "flags-two-accepted": "of several flags at once the lowest one counts",
    "flags-none-accepted": "a tracking request without a flag succeeds and does nothing",
    "flags-unknown-ignored": "unknown flags of a tracking request are ignored; alone they succeed and do nothing",
    "tracking-flags-renumbered": "START is 2 and STOP is 1",
    "tracking-new-mappings-only": "only pages of mappings made after START are reported",
    "tracking-old-mappings-only": "only pages of mappings made before START are reported",
    "tracking-forgets-pinned": "what was pinned before START is not reported",
    "tracking-one-shot": "after the first GET_BITMAP nothing is reported until the next STOP and START",
    "tracking-stale-after-stop": "STOP does not forget: the next START reports the old pages again",
    "tracking-restart-wedges": "a second START succeeds, and nothing is reported from then on until reset",
    "bitmap-while-stopped": "GET_BITMAP succeeds while nothing is tracked",
    "bitmap-short-argsz-accepted": "GET_BITMAP succeeds whatever argsz says, from 8 on",
    "bitmap-any-page-size": "GET_BITMAP takes any power of two from 4096 as page size",
    "bitmap-page-size-ignored": "GET_BITMAP takes any number as page size; bits stay one per page",
    "bitmap-small-buffer-accepted": "GET_BITMAP takes a bitmap too small for the range, and fills that",
    "bitmap-exact-buffer-only": "GET_BITMAP refuses a bitmap larger than needed",
    "bitmap-size-unchecked": "GET_BITMAP takes a bitmap of any size, 0 and 2^63 too",
    "bitmap-largest-refused": "GET_BITMAP refuses a bitmap of the largest size announced",
    "bitmap-above-largest-accepted": "GET_BITMAP takes a bitmap above the largest size announced",
    "bitmap-refused-clears": "GET_BITMAP refused for the size of its bitmap drops the pages of the range",
    "bitmap-range-ignored": "GET_BITMAP reports from the start of the first mapping, not of the range",
    "bitmap-loses-last-page": "GET_BITMAP does not report the last page of the range, and forgets it",
    "bitmap-cut-wedges": "GET_BITMAP of a range that cuts a mapping ends tracking",
    "bitmap-shifted-by-one": "GET_BITMAP sets bit i + 1 for page i",
    "bitmap-msb-first": "GET_BITMAP numbers the bits of each byte from the highest",
    "bitmap-second-word-lost": "GET_BITMAP leaves the second 64-bit word zero",
    "bitmap-trailing-bits": "GET_BITMAP sets the bits between the last page and the end of its word",
    "bitmap-hole-bits": "GET_BITMAP reports pages that are not mapped",
    "bitmap-everything-dirty": "GET_BITMAP reports every mapped page",
    "bitmap-not-cleared": "a page that was reported stays reported",
    "bitmap-clears-too-much": "GET_BITMAP forgets the pages beside its range, too, up to the next multiple of 64",
    "bitmap-unaligned-base": "after a range that begins off a mapping's 64-page words, later bits are shifted",
    "bitmap-set-once": "a page that was reported is not reported again until the next STOP and START",
    "bitmap-misses-long-write": "of a write that spans several pages only the first is recorded",
    "bitmap-drops-every-64th": "every 64th write is not recorded",
    "bitmap-race": "what GET_BITMAP reported is cleared only after the DMA stream's next write, which is lost with it",
    # Dirty pages: unmapping with a bitmap, and without.
    "unmap-before-bitmap": "unmapping comes before the bitmap is made, which is empty then",
    "unmap-reports-only": "an unmapping with a bitmap leaves the range mapped",
    "unmap-short-argsz-accepted": "an unmapping with a bitmap succeeds with an argsz that leaves the bitmap out",
    "unmap-small-buffer-accepted": "an unmapping takes a bitmap too small for the range, and fills that",
    "unmap-page-size-ignored": "an unmapping with a bitmap takes any number as page size",
    "unmap-bitmap-shifted": "the bitmap of an unmapping has bit i + 1 set for page i",
    "unmap-bitmap-inverted": "the bitmap of an unmapping has the bits of clean pages set",
    "unmap-forgets-neighbours": "an unmapping with a bitmap forgets what is dirty elsewhere",
    "unmap-refused-clears": "an unmapping with a bitmap that is refused drops the pages of the range",
    "unmap-plain-wants-40": "a plain unmapping with an argsz of 24 is refused",
    "unmap-size-kept-zero": "a plain unmapping reports 0 bytes unmapped",
}


def unknown_defects(names: Iterable[str]) -> list[str]:
    """One line for each name that is no defect, with the nearest one that is."""
    lines = []
    for name in names:
        if name not in DEFECTS:
            from difflib import get_close_matches  # only needed to complain

            near = get_close_matches(name, DEFECTS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; --list-defects shows them all"
            lines.append(f"no defect is called {name!r}{hint}")
    return lines
