# SPDX-License-Identifier: GPL-2.0-only
"""The origin of written bytes: data that a device gave before, whole or in part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..common.calls import MAPPED_WRITE, SECOND, Call
from ..common.registers import Register
from ..results.registers import Registers
from .contents import Contents
from .steps import Copied, Data


@dataclass
class Section:
    """A device's last answer on the place of data in a region: the step, and the number."""

    offset: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    #: What was written there last.
    written: Data = ()
    #: The reading of data_offset for which the source of the data was determined; -1 for none.
    gives: tuple[int, int] = (0, -1)


@dataclass
class _Source:
    """Bytes that a step read."""

    id: int
    length: int
    data: bytes
    digest: str


class Copies:
    """Finds what was read before in what is written, as the calls come."""

    def __init__(self, calls: Sequence[Call], registers: Registers, contents: Contents) -> None:
        self._calls, self._registers, self._contents = calls, registers, contents
        self._places = {call.serial: at for at, call in enumerate(calls)}
        written = [call for call in calls if call.verb in ("write", MAPPED_WRITE) and not self._is_named(call)]
        #: The writes that are not to registers: length, first bytes and digest, and the place of each call among them.
        self._given = [(call.length, *call.moved) for call in written]
        self._coming = {call.serial: at for at, call in enumerate(written)}
        self._sources: list[_Source] = []
        #: The end of the last copied part: the step that read it, and the place after it.
        self._copied_to = (0, 0)

    def read(self, call: Call) -> None:
        """Note the data that a call read."""
        self._sources.append(_Source(call.serial, call.value, call.received, call.received_digest))

    def of(self, call: Call, section: Section) -> Copied | None:
        """The source of a call's data, if it was read before."""
        return self._whole(call) or self._in_place(call, section) or self._part(self._contents.of(call))

    def register(self, region: int, call: Call) -> Register | None:
        """The register that a call reads or writes as a whole."""
        known = self._registers.get(region, ())
        return next((each for each in known if (each.offset, each.width) == (call.number, call.length)), None)

    def _is_named(self, call: Call) -> bool:
        region = call.target.removeprefix(SECOND).removeprefix("region ")
        return (
            not region.isdecimal() or self.register(int(region), call) is not None or int(region) not in self._registers
        )

    def _whole(self, call: Call) -> Copied | None:
        """All that a step read: of several, the one that the following writes match for the longest."""
        coming = self._coming.get(call.serial, len(self._given))

        def follows(at: int) -> int:
            length = 0
            while at + length < len(self._sources) and coming + length < len(self._given):
                source, given = self._sources[at + length], self._given[coming + length]
                if (source.length, source.data, source.digest) != given:
                    break
                length += 1
            return length

        sent = (call.length, *call.moved)
        known = [at for at, each in enumerate(self._sources) if (each.length, each.data, each.digest) == sent]
        if not known:
            return None
        source = self._sources[max(known, key=lambda at: (follows(at), at))]
        self._copied_to = source.id, source.length
        return Copied(source.id, 0, call.length, whole=True)

    def _in_place(self, call: Call, section: Section) -> Copied | None:
        """A part of a buffer that is written in parts, if all of them are as in one that was read."""
        if section.offset is None:
            return None
        id_, start = section.offset
        if section.gives[0] != id_:
            parts = [*self._parts(call, start)]
            last = next((at for at, each in enumerate(self._sources) if each.id == self._copied_to[0]), -1)
            order = [last + 1, *range(len(self._sources) - 1, -1, -1)]
            fitting = (at for at in order if at < len(self._sources) and self._holds(self._sources[at], parts))
            section.gives = id_, next(fitting, -1)
        at = section.gives[1]
        if at < 0 or call.number < start:
            return None
        source = self._sources[at]
        self._copied_to = source.id, source.length
        return Copied(source.id, call.number - start, call.length)

    def _parts(self, call: Call, start: int) -> Iterator[tuple[int, bytes | None]]:
        """The following writes to the buffer that begins at ``start``, until data_size is written."""
        region = int(call.target.removeprefix(SECOND).removeprefix("region "))
        for each in self._calls[self._places[call.serial] :]:
            if each.target == call.target and each.verb in ("write", MAPPED_WRITE):
                if self.register(region, each):
                    return
                yield each.number - start, self._contents.of(each)

    def _holds(self, source: _Source, parts: Sequence[tuple[int, bytes | None]]) -> bool:
        whole = self._content(source)
        return all(data and place >= 0 and whole[place : place + len(data)] == data for place, data in parts)

    def _part(self, data: bytes | None) -> Copied | None:
        """A part of what a step read: after the last part, at the beginning of a later one, or anywhere."""
        if data is None or len(set(data)) == 1:
            return None
        contents = [(source, self._content(source)) for source in self._sources]
        id_, end = self._copied_to
        last = next((at for at, (source, _) in enumerate(contents) if source.id == id_), -1)
        places = [(last, end), *((at, 0) for at in range(last + 1, len(contents)))]
        places += [(at, contents[at][1].find(data)) for at in range(len(contents) - 1, -1, -1)]
        for at, start in places:
            source, whole = contents[at] if at >= 0 else (None, b"")
            if source and start >= 0 and whole[start : start + len(data)] == data:
                self._copied_to = source.id, start + len(data)
                return Copied(source.id, start, len(data))
        return None

    def _content(self, source: _Source) -> bytes:
        """All that was read, if it was kept."""
        return (self._contents.by_digest(source.digest) or b"") if source.digest else source.data
