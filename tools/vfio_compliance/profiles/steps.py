# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF009 (key() makes a dataclass field)
"""What a profile can do to a device: the steps, and lists of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, TypeAlias

from yaml.nodes import Node, ScalarNode

from vfio_compliance.common.words import counted
from vfio_compliance.profiles.document import Document, quoted
from vfio_compliance.profiles.expressions import (
    ALWAYS,
    Computed,
    Expression,
    FileText,
    Filled,
    Value,
    unknown,
    used,
)
from vfio_compliance.profiles.kinds import BAD, Choice, Duration, Integer, Kind, OneOfNumbers, Schema, Size, Text
from vfio_compliance.profiles.records import ListOf, OneKey, Record, key

#: The most bytes of `fill` and `digest`.
LARGEST_RANGE: Final = "1GiB"

_REGION = "Index of the VFIO region; on a PCI device 0 to 5 are the BARs."
_OFFSET = "Bytes from the start of the region."
_PATH = (
    "The file. `{sysfs}` becomes the device's folder in /sys, `{name}` its name, `{socket}` the server's socket; so "
    "the same step does for a second device."
)
_INTO = "A name such as `$old`: later steps of the list use the value that was read."


class Step:
    """One thing to do. Some steps give a value."""

    gives: ClassVar[bool] = False


# -- registers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Access(Step):
    """An access to a register."""

    region: int = key(Integer(0, 0xFFFF), _REGION)
    offset: Value = key(Computed(0, 2**63 - 1), _OFFSET)
    width: int = key(OneOfNumbers(1, 2, 4, 8), "Bytes accessed at once.")

    def too_wide(self, name: str) -> Iterator[tuple[str, str]]:
        """A problem if the number in a field does not fit into the register."""
        value = getattr(self, name)
        if isinstance(value, int) and value >> 8 * self.width:
            yield name, f"{value:#x} does not fit into the width of {counted(8 * self.width, 'bit')}"


@dataclass(frozen=True, kw_only=True)
class Read(Access):
    """Read a register."""

    gives = True

    mask: int = key(Integer(1), "The bits to look at; left out: all of them.", default=2**64 - 1)
    into: str | None = key(Text("a name such as `$old`", r"\$[a-z][a-z0-9_]*"), _INTO, default=None)

    def problems(self) -> Iterator[tuple[str, str]]:
        """A mask that is too wide."""
        if self.mask != 2**64 - 1:
            yield from self.too_wide("mask")


@dataclass(frozen=True, kw_only=True)
class Write(Access):
    """Write a register."""

    value: Value = key(
        Computed(), "What to write: a number, a variable such as `$iova`, or an expression such as `$iova >> 32`."
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """A value that does not fit."""
        yield from self.too_wide("value")
        bare = isinstance(self.value, Expression) and self.value.text in ("$iova", "$length")
        if bare and self.width < 4:
            yield "value", f"{quoted(str(self.value))} needs a register of 4 or 8 bytes, not {self.width}"


@dataclass(frozen=True, kw_only=True)
class Wait(Access):
    """Read a register again and again until the bits in `mask` equal `equals`."""

    mask: int = key(Integer(1), "The bits to look at; left out: all of them.", default=2**64 - 1)
    equals: Value = key(Computed(), "What the bits must be for the wait to end.")
    within: float = key(Duration("1us", "24h"), "Longest time to wait; then the step has failed.")

    def problems(self) -> Iterator[tuple[str, str]]:
        """A condition that never becomes true."""
        if isinstance(self.equals, int) and not self.equals >> 8 * self.width and self.equals & ~self.mask:
            yield (
                "equals",
                f"{self.equals:#x} has bits outside the mask {self.mask:#x}; this never becomes true",
            )
        yield from self.too_wide("equals")
        if self.mask != 2**64 - 1:
            yield from self.too_wide("mask")


# -- ranges ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Range(Step):
    """Bytes of a region."""

    region: int = key(Integer(0, 0xFFFF), _REGION)
    offset: Value = key(Computed(0, 2**63 - 1), _OFFSET)
    size: int = key(Size("1", LARGEST_RANGE), "Bytes of the range.")
    at_once: int = key(
        Size("1", "1MiB", power_of_two=True), "Bytes accessed at once; a register file may want 4.", default="4KiB"
    )


@dataclass(frozen=True, kw_only=True)
class Fill(Range):
    """Write a pattern over a range, another one for each `value`."""

    value: Value = key(Computed(), "The number that the pattern is made from.")


@dataclass(frozen=True, kw_only=True)
class Digest(Range):
    """Read a range; the value is a number made from all of its bytes."""

    gives = True


# -- files ----------------------------------------------------------------------------------------------------------


#: The words that are filled in in the path of a file.
PLACES: Final = ("{sysfs}", "{name}", "{socket}")


class _Path(Text):
    """The path of a file, in which some `{words}` are filled in."""

    def __init__(self) -> None:
        super().__init__("a path")

    def parse(self, node: ScalarNode, document: Document) -> Any:
        text = super().parse(node, document)
        left = text
        for placeholder in PLACES:
            left = left.replace(placeholder, "")
        if "{" in left or "}" in left:
            at = left[left.index("{") if "{" in left else left.index("}") :]
            raise ValueError(f"{quoted(at)} is not filled in here; `{'`, `'.join(PLACES)}` are")
        return text


@dataclass(frozen=True, kw_only=True)
class FileStep(Step):
    """An access to a file, such as an attribute of the driver in /sys."""

    path: str = key(_Path(), _PATH)


@dataclass(frozen=True, kw_only=True)
class WriteFile(FileStep):
    """Write a file, all of it at once."""

    text: Filled = key(
        FileText(),
        "What to write; `{$iova}` is filled in as a decimal number, `{$iova:#x}` as a hexadecimal one.",
    )


@dataclass(frozen=True, kw_only=True)
class ReadFile(FileStep):
    """Read a file. The value is the number in it; if it holds something else, a number made from its content."""

    gives = True

    into: str | None = key(Text("a name such as `$old`", r"\$[a-z][a-z0-9_]*"), _INTO, default=None)


@dataclass(frozen=True, kw_only=True)
class WaitFile(FileStep):
    """Read a file again and again until it holds `text`, white space at both ends left out."""

    text: Filled = key(FileText(), "The content to wait for.")
    within: float = key(Duration("1us", "24h"), "Longest time to wait; then the step has failed.")


# -- interrupts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Irq(Step):
    index: int = key(Integer(0, 0xFFFF), "Index of the interrupt; on a PCI device 0 is INTx, 1 MSI, 2 MSI-X.")


@dataclass(frozen=True, kw_only=True)
class Irq(_Irq):
    """One vector of an interrupt."""

    vector: int = key(Integer(0, 0xFFFF), "Which vector of it.", default=0)


class EnableIrq(Irq):
    """Have the interrupt reported to the suite from now on, until the device is closed; once more changes nothing."""


class DisableIrq(_Irq):
    """No vector of the interrupt is reported any more."""


class TriggerIrq(Irq):
    """Make the driver report the interrupt as if the device had raised it."""


class UnmaskIrq(Irq):
    """Let a level-triggered interrupt come again."""


class CountIrq(Irq):
    """How often the interrupt has come since it was enabled."""

    gives = True


@dataclass(frozen=True, kw_only=True)
class WaitIrq(Irq):
    """Wait for an interrupt that no earlier wait has seen."""

    within: float = key(Duration("1us", "24h"), "Longest time to wait; then the step has failed.")


# -- more -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CallAction(Step):
    """Call a function of the file that `actions` names; its values are those that it returns."""

    gives = True

    name: str
    #: The variables that are known at the call.
    known: frozenset[str] = frozenset()


@dataclass(frozen=True)
class MapSection:
    """Map the mappable parts of the migration region's data section, and leave them mapped."""


@dataclass(frozen=True, kw_only=True)
class MapRegion:
    """Map the mappable parts of a region, and leave them mapped."""

    region: int = key(Integer(0, 0xFFFF), _REGION)


SetupStep: TypeAlias = Step | MapSection | MapRegion


class _Call(Text):
    """The name of an action."""

    def __init__(self) -> None:
        super().__init__("the name of a function", "[A-Za-z][A-Za-z0-9_]*")

    def parse(self, node: ScalarNode, document: Document) -> Any:
        return CallAction(super().parse(node, document))


class _Mapped(Kind):
    """The argument of the step `map`: the data section, or a region."""

    def __init__(self) -> None:
        self._section, self._region = Choice("data_section"), Record(MapRegion)

    def read(self, node: Node, path: str, document: Document) -> Any:
        if not isinstance(node, ScalarNode):
            return self._region.read(node, path, document)
        return BAD if self._section.read(node, path, document) is BAD else MapSection()

    def schema(self) -> Schema:
        return {"anyOf": [self._section.schema(), self._region.schema()]}


#: The steps that give a value, and the others, by their words.
_GIVING: Final[dict[str, Kind]] = {
    "read": Record(Read),
    "digest": Record(Digest),
    "read_file": Record(ReadFile),
    "count_irq": Record(CountIrq),
    "call": _Call(),
}
_STEPS: Final[dict[str, Kind]] = {
    "write": Record(Write),
    "read": _GIVING["read"],
    "wait": Record(Wait),
    "fill": Record(Fill),
    "digest": _GIVING["digest"],
    "write_file": Record(WriteFile),
    "read_file": _GIVING["read_file"],
    "wait_file": Record(WaitFile),
    "enable_irq": Record(EnableIrq),
    "disable_irq": Record(DisableIrq),
    "trigger_irq": Record(TriggerIrq),
    "unmask_irq": Record(UnmaskIrq),
    "count_irq": _GIVING["count_irq"],
    "wait_irq": Record(WaitIrq),
    "call": _GIVING["call"],
}


class Sample(OneKey):
    """One step that gives a value."""

    def __init__(self) -> None:
        super().__init__(_GIVING)

    def read(self, node: Node, path: str, document: Document) -> Any:
        step = super().read(node, path, document)
        if step is BAD or _strangers(step, path, set(ALWAYS), document):
            return BAD
        return replace(step, known=frozenset(ALWAYS)) if isinstance(step, CallAction) else step


class Program(ListOf):
    """A list of steps, which may use ``variables`` and values that earlier steps have read."""

    def __init__(self, *variables: str, at_least: int = 1, gives: bool = False, **more: Kind) -> None:
        """``gives``: at least one step must give a value."""
        super().__init__(
            OneKey({**_STEPS, **more}, "`write`, `read`, `wait` or another step"), "a list of steps", at_least=at_least
        )
        self._variables, self._gives = variables, gives

    def read(self, node: Node, path: str, document: Document) -> Any:
        steps = super().read(node, path, document)
        if steps is BAD:
            return BAD
        complaints = len(document.problems)
        known = {*self._variables, *ALWAYS}
        done = []
        for index, step in enumerate(steps):
            inner = f"{path}.{index}"
            _strangers(step, inner, known, document)
            if into := getattr(step, "into", None):
                if into in (*self._variables, *ALWAYS):
                    place = document.values[f"{inner}.{_word(inner, document)}.into"]
                    document.complain(place, f"{quoted(into)} has a meaning already; take another name")
                known.add(into)
            done.append(replace(step, known=frozenset(known)) if isinstance(step, CallAction) else step)
        if self._gives and not any(step.gives for step in steps):
            document.complain(node, "none of these steps gives a value; use `read`, or another step that does")
        return BAD if len(document.problems) > complaints else tuple(done)


def _strangers(step: object, path: str, known: set[str], document: Document) -> bool:
    """Complain about each unknown variable of a step; returns whether there was one."""
    found = [(name, stranger) for name, names in used(step) for stranger in sorted(names - known)]
    for name, stranger in found:
        place = document.values[f"{path}.{_word(path, document)}.{name}"]
        document.complain(place, unknown(stranger, known, document))
    return bool(found)


def _word(path: str, document: Document) -> str:
    """The word of the step at a path: its only key."""
    return next(word for word in (*_STEPS, "map") if f"{path}.{word}" in document.keys)


def setup_steps() -> Program:
    """The steps of a set-up, which may also map."""
    return Program(at_least=0, map=_Mapped())


def waiting(step: object) -> tuple[str, float]:
    """The word of a waiting step, and the most seconds that it waits; no word for other steps."""
    for kind, word in ((Wait, "wait"), (WaitFile, "wait_file"), (WaitIrq, "wait_irq")):
        if isinstance(step, kind):
            return word, step.within
    return "", 0.0
