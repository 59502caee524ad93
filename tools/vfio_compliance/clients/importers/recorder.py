# SPDX-License-Identifier: GPL-2.0-only
"""Writes the trace of an import, and finds out which region is the migration region.

A trace says that before the first access, but an import finds it only later: the records go to a temporary
file next to the trace, and from there to the trace when all is known.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from ...common.calls import KEPT_BYTES
from ...common.words import counted, enumerated
from ...interfaces import JUDGED
from ..trace import Region, TraceError, Writer, encode

_HEADER_END: Final = max(register.offset + register.width for register in JUDGED.registers)
_REGISTERS: Final = {(register.offset, register.width) for register in JUDGED.registers}

#: The first register holds a state, of three bits.
_HIGHEST: Final = 7

#: The most regions of all devices that are distinguished. A device has some ten.
_MOST_REGIONS: Final = 4096

#: The number of records that are written at once.
_MOST_WAITING: Final = 512

#: The most gaps whose reasons are reported.
_GAPS_SHOWN: Final = 3

_LATEST: Final = 1e12 - 1

#: The record of an access: its verb, numbers, and the known part of the content.
_ACCESS: Final = (
    b'{"verb":"%b","time":%.6f,"device":%d,"region":%d,"offset":%d,"length":%d,"value":%d,"errno":%d,"took":%.0f%b}\n'
)


@dataclass
class _Looks:
    """The evidence that a region is the migration region."""

    #: Whole accesses of its first register, and of the others.
    first: int = 0
    others: int = 0
    #: Accesses to the header that match no register.
    strange: int = 0


class Recorder:
    """Takes what a client did, in order. Times are in seconds from any common beginning.

    Each method raises TraceError if the disk is full.
    """

    def __init__(self, path: Path, source: Path, recorded: str, region: int | None = None) -> None:
        """Create the trace ``path`` of ``source``; ``region`` is the migration region's index, if the user names it.

        Raises TraceError if the file exists.
        """
        self._writer = Writer(path, recorded, maps_seen=True)
        self._undo = contextlib.ExitStack()
        self._path = path
        self._source = source
        self._named = region
        try:
            self._body = self._undo.enter_context(tempfile.TemporaryFile(dir=path.parent))  # noqa: SIM115 - it is
        except OSError as error:
            self.abandon()
            raise TraceError(f"{path.parent}: {error.strerror}") from None
        self._waiting: list[bytes] = []
        self._looks: dict[tuple[int, int], _Looks] = {}
        self._known: dict[tuple[int, int], Region] = {}
        self._migration: dict[int, int] = {}
        self._began: float | None = None
        self._last = 0.0
        self.counts: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def note(self, text: str) -> None:
        """Something that the user of the import should know."""
        if text in self.notes or len(self.notes) < KEPT_BYTES:
            self.notes[text] += 1

    def simple(self, verb: str, time: float | None, device: int) -> None:
        """An ``open`` or ``close``."""
        self._put({"verb": verb, "time": self._seconds(time), "device": device})

    def gap(self, time: float | None, why: str) -> None:
        """Accesses may be missing here."""
        if self.counts["gap"] < _GAPS_SHOWN:
            self.note(f"a gap: {why}")
        self._put({"verb": "gap", "time": self._seconds(time), "why": why})

    def reset(self, time: float | None, took: float, errno: int, device: int) -> None:
        """A reset; ``errno`` 0: it succeeded."""
        self._put(
            {"verb": "reset", "time": self._seconds(time), "device": device, **_ended(-1 if errno else 0, errno, took)}
        )

    def access(
        self,
        verb: str,
        time: float | None,
        took: float,
        device: int,
        place: tuple[int, int, int],
        value: int,
        errno: int,
        data: bytes = b"",
    ) -> None:
        """A ``read``, ``write`` or ``map`` at region, offset, length; ``data`` is the known part of the content."""
        region, offset, length = place
        if offset < _HEADER_END:
            self._look(device, place, data)
        moved = value if verb == "read" else length if verb == "write" else 0
        # Formatted by hand, and the most frequent case first: there may be millions of these.
        tail = f',"data":"{data.hex()}"' if 0 < moved == len(data) <= KEPT_BYTES else _tail(data, max(moved, 0))
        self.counts[verb] += 1
        numbers = (self._seconds(time), device, region, offset, length, value, errno, took * 1e6)
        self._line(_ACCESS % (verb.encode(), *numbers, tail.encode()))

    def container(self, verb: str, time: float | None, took: float, number: int, errno: int, **fields: Any) -> None:
        """A ``dma-map``, ``dma-unmap`` or ``dirty``; unknown fields are left out."""
        ended = _ended(-1 if errno else 0, errno, took)
        self._put({"verb": verb, "time": self._seconds(time), "container": number, **fields, **ended})

    def region(self, device: int, region: Region) -> None:
        """What is known about a region."""
        if len(self._known) < _MOST_REGIONS:
            self._known[device, region.region] = region
            if region.migration:
                self._migration[device] = region.region

    def finish(self) -> None:
        """Put the trace together. Raises TraceError if several regions may be the migration region."""
        regions = self._found()
        if self.counts["gap"] > _GAPS_SHOWN:
            self.note(f"{counted(self.counts['gap'], 'gap')} in all, each with its reason in the trace")
        self._flush()
        for (device, _), region in sorted(regions.items()):
            self._writer.region(0, region, device)
        self._body.seek(0)
        self._writer.append(self._body)
        self._undo.close()
        self._writer.close(self._last)

    def abandon(self) -> None:
        """There will be no trace."""
        self._undo.close()
        self._writer.abandon()

    def _found(self) -> dict[tuple[int, int], Region]:
        regions = dict(self._known)
        for device in sorted({device for device, _ in self._looks} | set(self._migration)):
            index = self._named if self._named is not None else self._migration.get(device)
            if self._named is not None and not self._used(device, self._named):
                self.note(f"region {self._named} of device {device} was not used as a migration region is used")
            if index is None:
                index = self._index_by_pattern(device)
            if index is not None:
                known = regions.get((device, index), Region(index, 0, (), True))
                regions[device, index] = known._replace(migration=True)
        return regions

    def _used(self, device: int, index: int) -> bool:
        looks = self._looks.get((device, index))
        return looks is not None and looks.first > 0 and not looks.strange

    def _index_by_pattern(self, device: int) -> int | None:
        looks = {index: each for (owner, index), each in self._looks.items() if owner == device}
        whole = [index for index, each in looks.items() if each.first and each.others and not each.strange]
        some = [index for index, each in looks.items() if each.first and not each.strange]
        found = sorted(whole or some)
        if len(found) > 1:
            raise TraceError(
                f"{self._source}: device {device}: "
                f"{enumerated(f'region {index}' for index in found)} may be the migration region; "
                "name it with --region"
            )
        if not found:
            self.note(f"no region of device {device} was used like a migration region; name it with --region")
            return None
        self.note(
            f"region {found[0]} of device {device} is used as the migration region, and nothing else shows which one "
            f"it is (--region names it)"
        )
        return found[0]

    def _look(self, device: int, place: tuple[int, int, int], data: bytes) -> None:
        region, offset, length = place
        looks = self._looks.get((device, region))
        if looks is None:
            if len(self._looks) >= _MOST_REGIONS:
                return
            looks = self._looks[device, region] = _Looks()
        if (offset, length) in _REGISTERS:
            if offset:
                looks.others += 1
            elif int.from_bytes(data, "little") > _HIGHEST:
                looks.strange += 1
            else:
                looks.first += 1
        elif not any(at <= offset and offset + length <= at + width for at, width in _REGISTERS):
            looks.strange += 1

    def _seconds(self, time: float | None) -> float:
        if time is None:
            return self._last
        if self._began is None:
            self._began = time
        last = time - self._began
        self._last = last if 0.0 <= last <= _LATEST else min(max(last, 0.0), _LATEST)
        return round(self._last, 6)

    def _put(self, fields: dict[str, Any]) -> None:
        self.counts[fields["verb"]] += 1
        self._line(encode(fields))

    def _line(self, line: bytes) -> None:
        self._waiting.append(line)
        if len(self._waiting) >= _MOST_WAITING:
            self._flush()

    def _flush(self) -> None:
        try:
            self._body.write(b"".join(self._waiting))
        except OSError as error:
            raise TraceError(f"{self._path} takes no more: {error.strerror}") from None
        self._waiting.clear()


def _tail(data: bytes, moved: int) -> str:
    """The end of a record that moved ``length`` bytes: the known ones, or their digest if they are many."""
    if KEPT_BYTES < moved <= len(data):
        return f',"sha256":"{sha256(data[:moved]).hexdigest()}"'
    unknown = ',"unknown":true' if len(data) < moved else ""
    kept = data[: min(moved, KEPT_BYTES)].hex()
    return unknown + (f',"data":"{kept}"' if kept else "")


def _ended(value: int, errno: int, took: float) -> dict[str, int]:
    return {"value": value, "errno": errno, "took": round(took * 1e6)}
