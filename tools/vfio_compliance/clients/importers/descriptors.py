# SPDX-License-Identifier: GPL-2.0-only
"""Which descriptors of which process are open files of VFIO: through dup, fork, exec and the ends of processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

#: The most threads, and descriptors of a process, that are distinguished. A machine has fewer.
_MOST_THREADS: Final = 1 << 16
_MOST_DESCRIPTORS: Final = 1 << 12


class Kind(Enum):
    """What an open file is."""

    CONTAINER = "container"
    GROUP = "group"
    DEVICE = "device"


@dataclass(eq=False)
class File:
    """An open file, to which any number of descriptors refer."""

    kind: Kind
    #: Which device or container it is.
    number: int = 0
    #: Path of a group.
    name: str = ""
    #: How many descriptors there are.
    uses: int = 0


@dataclass(eq=False)
class Table:
    """The descriptors of a process, each with its file, and whether exec closes it."""

    slots: dict[int, tuple[File, bool]] = field(default_factory=dict)
    threads: int = 0


class Descriptors:
    """The tables of all threads. A thread whose beginning was not seen counts as part of the first one's process."""

    def __init__(self) -> None:
        self._tables: dict[int, Table] = {}
        self._main = Table()
        #: Threads in the middle of a clone, and whether the new one shares their table.
        self._cloning: dict[int, bool] = {}
        #: How many threads were counted as part of the first one's process, because their beginning was not seen.
        self.assumed = 0
        #: All numbers that have referred to a file of VFIO.
        self.numbers: set[int] = set()

    def table(self, pid: int) -> Table:
        """Of a thread."""
        table = self._tables.get(pid)
        if table is not None:
            return table
        if self._cloning:
            parent, shares = next(reversed(self._cloning.items()))
            return self._born(parent, pid, shares)
        self.assumed += bool(self._tables)
        return self._enter(pid, self._main)

    def file(self, pid: int, number: int) -> File | None:
        """A descriptor's file; None if it is not one of VFIO."""
        slot = self.table(pid).slots.get(number)
        return slot[0] if slot else None

    def put(self, pid: int, number: int, file: File, closes: bool) -> File | None:
        """From now on, a descriptor is this file; returns its earlier file, if it was the last descriptor of that."""
        before = self.close(pid, number)
        slots = self.table(pid).slots
        if number >= 0 and len(slots) < _MOST_DESCRIPTORS:
            slots[number] = file, closes
            if len(self.numbers) < _MOST_THREADS:
                self.numbers.add(number)
            file.uses += 1
        return before

    def keep_over_exec(self, pid: int, number: int, closes: bool) -> None:
        """Set or clear FD_CLOEXEC."""
        slots = self.table(pid).slots
        if number in slots:
            slots[number] = slots[number][0], closes

    def close(self, pid: int, number: int) -> File | None:
        """Close a descriptor; returns the file if it was the last one."""
        slot = self.table(pid).slots.pop(number, None)
        return self._gone(slot[0]) if slot else None

    def close_range(self, pid: int, first: int, last: int) -> Iterator[File]:
        """Close many; returns each file whose last descriptor was among them."""
        for number in [each for each in self.table(pid).slots if first <= each <= last]:
            if (gone := self.close(pid, number)) is not None:
                yield gone

    def clone_begins(self, pid: int, shares: bool) -> None:
        """A thread creates another, which may be seen before the call ends."""
        self.table(pid)
        if len(self._cloning) < _MOST_THREADS:
            self._cloning[pid] = shares

    def clone_ends(self, pid: int, child: int | None, shares: bool) -> None:
        """The call ended; None: it failed."""
        self._cloning.pop(pid, None)
        if child is not None and child not in self._tables:
            self._born(pid, child, shares)

    def unshare(self, pid: int) -> None:
        """From now on, a thread has its own table."""
        table = self.table(pid)
        if table.threads > 1:
            self._leave(pid)
            self._enter(pid, self._copy(table))

    def execute(self, pid: int) -> Iterator[File]:
        """The program is replaced: returns each file whose last descriptor that closed."""
        self.unshare(pid)
        for number in [each for each, (_, closes) in self.table(pid).slots.items() if closes]:
            if (gone := self.close(pid, number)) is not None:
                yield gone

    def rename(self, pid: int, to: int) -> None:
        """A thread that replaces the program takes the number of its process; all others are gone."""
        table = self.table(pid)
        if self._tables.get(to) is not table:
            self._enter(to, table)
        if pid != to:
            self._leave(pid)

    def end(self, pid: int) -> Iterator[File]:
        """A thread ended: returns each file whose last descriptor it had."""
        table = self._tables.get(pid)
        self._cloning.pop(pid, None)
        if table is None:
            return
        self._leave(pid)
        if not table.threads:
            for file, _ in table.slots.values():
                if (gone := self._gone(file)) is not None:
                    yield gone
            table.slots.clear()

    def _born(self, parent: int, child: int, shares: bool) -> Table:
        table = self.table(parent)
        return self._enter(child, table if shares else self._copy(table))

    def _enter(self, pid: int, table: Table) -> Table:
        if len(self._tables) >= _MOST_THREADS:
            self._leave(next(iter(self._tables)))
        self._leave(pid)
        self._tables[pid] = table
        table.threads += 1
        return table

    def _leave(self, pid: int) -> None:
        if (table := self._tables.pop(pid, None)) is not None:
            table.threads -= 1

    @staticmethod
    def _copy(table: Table) -> Table:
        for file, _ in table.slots.values():
            file.uses += 1
        return Table(dict(table.slots))

    @staticmethod
    def _gone(file: File) -> File | None:
        file.uses -= 1
        return None if file.uses else file
