# SPDX-License-Identifier: GPL-2.0-only
"""The names in a program: of answers, regions, registers, numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from ..common.registers import Register
from .fault import Place
from .program import Program
from .steps import Copied, Number, Save, Step


class Names:
    """The names of one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.steps = {step.id: step for step in program.steps}
        #: The names of steps' answers, once they have one.
        self.called: dict[int, str] = {}
        self._counts: Counter[str] = Counter()

    def give(self, step: Step, name: str) -> str:
        """A name for a step's answer."""
        self._counts[name] += 1
        called = name if self._counts[name] == 1 else f"{name}_{self._counts[name]}"
        self.called[step.id] = called
        return called

    def region(self, region: int) -> str:
        """A region as an argument."""
        return "MIGRATION" if region == self.program.migration else str(region)

    def spoken(self, region: int) -> str:
        """A region in words."""
        return "the migration region" if region == self.program.migration else f"region {region}"

    def register(self, region: int, offset: Number, length: Number) -> Register | None:
        """The register that is accessed as a whole."""
        if offset.of or length.of:
            return None
        known = self.program.registers.get(region, ())
        return next((each for each in known if (each.offset, each.width) == (offset.plus, length.plus)), None)

    def register_named(self, place: Place) -> Register | None:
        """The register whose number is looked at."""
        known = (each for registers in self.program.registers.values() for each in registers)
        return next((each for each in known if each.name == place.name and not place.width), None)

    def number(self, number: Number) -> str:
        """A number as an argument."""
        if not number.of:
            return shown(number.plus)
        plus = f" + {shown(number.plus)}" if number.plus else ""
        return f"{self.called[number.of]}.number{plus}"

    def piece(self, piece: Copied) -> tuple[str, str, str]:
        """What is copied: the buffer, the place in it, and how much."""
        buffer = self.buffer_of(piece.of, piece.buffer)
        return buffer, str(piece.start), f"{buffer}.size" if piece.whole else str(piece.length)

    def buffer_of(self, id_: int, buffer: int) -> str:
        """What a step read, or one of its buffers."""
        name = self.called[id_]
        return f"buffer_of({name}, {buffer})" if isinstance(self.steps[id_], Save) else name


def shown(value: int) -> str:
    """Small numbers in decimal, others in hexadecimal."""
    return str(value) if value < 10 else hex(value)


def constant(words: str) -> str:
    """The name of a constant."""
    return re.sub(r"\W+", "_", words).upper()


def quoted(text: str) -> str:
    """A string, as both languages write it."""
    return '"' + re.sub(r'["\\]|[^ -~]', lambda found: f"\\{ord(found[0]):03o}", text) + '"'


def offsets(program: Program) -> dict[str, int]:
    """The names of registers and their values in the body."""
    found: dict[str, int] = {}
    for registers in program.registers.values():
        for register in registers:
            found[register.name.upper()] = register.offset
    return found


def values(program: Program) -> Iterator[tuple[str, dict[str, int]]]:
    """Each register whose values have names, with those."""
    for registers in [*program.registers.values()][:1]:
        for register in registers:
            if register.values:
                yield register.name, {words: value for value, words in register.values.items()}
