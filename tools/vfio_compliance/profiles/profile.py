# SPDX-License-Identifier: GPL-2.0-only
"""The format of a profile, version 1, and what loading one gives.

The dataclasses are the format: the loader and the JSON Schema are both derived from their `key()` fields.
Sizes are bytes (int), times are seconds (float), paths and commands stay as they were written; relative ones
count from the folder in which the suite is run.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from yaml.nodes import ScalarNode

from vfio_compliance.profiles.document import Document, Place, listed, quoted
from vfio_compliance.profiles.kinds import (
    Boolean,
    Choice,
    Date,
    Duration,
    Integer,
    Kind,
    NumberOrVariable,
    OneOfNumbers,
    Prose,
    Size,
    Text,
)
from vfio_compliance.profiles.records import ListOf, OneKey, Record, Variant, key

FORMAT = 1

State: TypeAlias = Literal["running", "pre-copy", "stop-and-copy", "stop", "resuming"]
STATES: tuple[State, ...] = ("running", "pre-copy", "stop-and-copy", "stop", "resuming")

#: The transitions that the interface draws: every driver has them, so none can be claimed.
DRAWN = (
    "running -> stop",
    "running -> stop-and-copy",
    "running -> pre-copy",
    "pre-copy -> stop-and-copy",
    "stop-and-copy -> stop",
    "running -> resuming",
    "resuming -> running",
)

_LONGEST_SOCKET_PATH = 107  # sockaddr_un holds 108 bytes, the last of them zero
_PLACEHOLDERS = ("{socket}", "{python}", "{project}")


class _Transition(Choice):
    def __init__(self) -> None:
        every = (f"{source} -> {target}" for source in STATES for target in STATES)
        super().__init__(*(transition for transition in every if transition not in DRAWN))

    def parse(self, node: ScalarNode, document: Document) -> Any:
        source, _, target = super().parse(node, document).partition(" -> ")
        return source, target

    def refusal(self, text: str) -> str:
        if text in DRAWN:
            return f"{quoted(text)} is drawn in the interface, so every driver has it; claim only others"
        if any(state.strip() == "error" for state in text.split("->")):
            return "the error state is entered by the driver and left by reset; no transition claims it"
        return f"expected a transition such as `stop -> running`, between {listed(STATES, 'and')}; found {quoted(text)}"


@dataclass(frozen=True, kw_only=True)
class _Access:
    region: int = key(Integer(0, 0xFFFF), "Index of the VFIO region; on a PCI device 0 to 5 are the BARs.")
    offset: int = key(Integer(0, 2**63 - 1), "Bytes from the start of the region.")
    width: int = key(OneOfNumbers(1, 2, 4, 8), "Bytes accessed at once.")


@dataclass(frozen=True, kw_only=True)
class Read(_Access):
    """Read a register."""


@dataclass(frozen=True, kw_only=True)
class Write(_Access):
    """Write a register: a number, or the name of a variable (`$iova`) that the suite fills in."""

    value: int | str = key(NumberOrVariable(), "What to write.")

    def problems(self) -> Iterator[tuple[str, str]]:
        if isinstance(self.value, int) and self.value >> 8 * self.width:
            yield "value", f"{self.value:#x} does not fit into {self.width} bytes"
        if self.value in ("$iova", "$length") and self.width < 4:
            yield "value", f"{quoted(str(self.value))} wants a register of 4 or 8 bytes, not {self.width}"


@dataclass(frozen=True, kw_only=True)
class Wait(_Access):
    """Read a register again and again until the bits in `mask` equal `equals`."""

    mask: int = key(Integer(1), "The bits to look at; left out: all of them.", default=2**64 - 1)
    equals: int = key(Integer(), "What the bits must be for the wait to end.")
    within: float = key(Duration("1us", "24h"), "Longest time to wait; then the step has failed.")

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.equals >> 8 * self.width:
            yield "equals", f"{self.equals:#x} does not fit into {self.width} bytes"
        elif self.equals & ~self.mask:
            yield (
                "equals",
                f"{self.equals:#x} has bits outside the mask {self.mask:#x}; this never becomes true",
            )
        if self.mask != 2**64 - 1 and self.mask >> 8 * self.width:
            yield "mask", f"{self.mask:#x} does not fit into {self.width} bytes"


Step: TypeAlias = Write | Read | Wait


def _steps(*variables: str) -> Kind:
    write = Record(Write, kinds={"value": NumberOrVariable(*variables)})
    step = OneKey({"write": write, "read": Record(Read), "wait": Record(Wait)})
    return ListOf(step, "a list of steps", at_least=1)


_READ = OneKey({"read": Record(Read)})


@dataclass(frozen=True, kw_only=True)
class Running:
    """Something that changes while the device runs, and only then."""

    sample: Read = key(_READ, "The read that shows it; two reads of a running device differ.")
    changes_within: float = key(
        Duration("1us", "24h"), "Two reads of a running device that are this far apart always differ."
    )


@dataclass(frozen=True, kw_only=True)
class Dma:
    """Makes the device write memory of the guest, over and over, until told to stop."""

    start: tuple[Step, ...] = key(
        _steps("$iova", "$length"),
        "Starts the writes. `$iova` is the address the device must use, `$length` the bytes it may write there.",
    )
    stop: tuple[Step, ...] = key(_steps("$iova", "$length"), "Ends the writes.")
    writes_within: float = key(
        Duration("1us", "24h"), "Once started, the device writes at least once in this time, again and again."
    )


@dataclass(frozen=True, kw_only=True)
class VisibleState:
    """Puts a value into the part of the device that migrates, and shows it."""

    set: tuple[Step, ...] = key(_steps("$value"), "Stores `$value`, a number that the suite chooses.")
    observe: tuple[Read, ...] = key(
        ListOf(_READ, "a list of reads", at_least=1),
        "Reads that show what is stored. They give the same on the device that the state was moved to.",
    )


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """How to make the device do something. A rule that needs a part left out here is n/a."""

    running: Running | None = key(
        Record(Running),
        "Shows whether the device runs. Without it, the rules on stopping are n/a.",
        default=None,
    )
    dma: Dma | None = key(
        Record(Dma),
        "Makes the device write memory. Without it, the rules on DMA while stopped are n/a.",
        default=None,
    )
    visible_state: VisibleState | None = key(
        Record(VisibleState),
        "Shows whether a state arrives. Without it, the rules on what a saved state restores are n/a.",
        default=None,
    )
    error: tuple[Step, ...] | None = key(
        _steps(),
        "Makes the next write of device_state fail, and the device report the error state. "
        "Without it, the rules on errors are n/a.",
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class KernelDefects:
    """Where a kernel module takes the names of the rules to break; the reference module only."""

    parameter: str = key(
        Text("a path"), "Module parameter; a comma list is written to it and undone afterwards."
    )


@dataclass(frozen=True, kw_only=True)
class ServerDefects:
    """How a server takes the names of the rules to break; the reference server only."""

    option: str = key(
        Text("an argument with `{name}` in it", r".*\{name\}.*"),
        "Argument added to `command` for each defect.",
    )


def _recovery() -> Any:
    return key(
        ListOf(
            Text("an argument", blank=True), "a list of arguments such as [program, argument]", at_least=1
        ),
        "Command that brings the device back when reset and reopening do not. Run as it stands, without a shell.",
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class KernelGroupDevice:
    """A device behind /dev/vfio/GROUP of the running kernel."""

    transport: Literal["kernel-group"] = key(
        Choice("kernel-group"), "The device is reached through the kernel."
    )
    name: str = key(Text("a name"), "Name the kernel knows the device by: for PCI its address, in quotes.")
    group: int | None = key(Integer(0, 2**31 - 1), "Number of its IOMMU group.", default=None)
    sysfs: str | None = key(
        Text("a path"), "Its folder in /sys, whose link iommu_group gives the group.", default=None
    )
    recovery: tuple[str, ...] | None = _recovery()
    defects: KernelDefects | None = key(
        Record(KernelDefects), "Only for a device made to be broken.", default=None
    )


@dataclass(frozen=True, kw_only=True)
class VfioUserDevice:
    """A device that a vfio-user server offers on a UNIX socket."""

    transport: Literal["vfio-user"] = key(
        Choice("vfio-user"), "The device is reached through a vfio-user server."
    )
    socket: str | None = key(
        Text("a path"),
        "The server's socket. Left out: a private one, for `command` to listen on.",
        default=None,
    )
    command: tuple[str, ...] | None = key(
        ListOf(
            Text("an argument", blank=True), "a list of arguments such as [program, argument]", at_least=1
        ),
        "Starts the server, without a shell. `{socket}` becomes the socket's path, `{python}` the Python in use, "
        "`{project}` this project's folder. Left out: the server runs already.",
        default=None,
    )
    recovery: tuple[str, ...] | None = _recovery()
    defects: ServerDefects | None = key(
        Record(ServerDefects), "Only for a server made to be broken.", default=None
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.socket is not None and len(self.socket.encode()) > _LONGEST_SOCKET_PATH:
            yield "socket", f"the path of a socket has at most {_LONGEST_SOCKET_PATH} bytes"
        if self.command is None:
            if self.defects is not None:
                yield "defects", "`defects` adds arguments to `command`, and there is none"
        elif self.socket is None and not any("{socket}" in argument for argument in self.command):
            yield (
                "command",
                "without `socket`, one argument must hold `{socket}` for the server to know where to listen",
            )


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Facts about the device. Probing must agree with each; what is not claimed (None, or no entry) is optional."""

    data_section: Literal["trapped", "mapped", "partitioned"] | None = key(
        Choice("trapped", "mapped", "partitioned"),
        "How the data section is accessed: by read and write only, by mmap as a whole, or by mmap in parts.",
        default=None,
    )
    precopy_data: bool | None = key(Boolean(), "Whether data is offered while still running.", default=None)
    transitions: tuple[tuple[State, State], ...] = key(
        ListOf(_Transition(), "a list of transitions"),
        "Transitions that work although the interface does not draw them; `stop -> stop` is writing a state again.",
        default=(),
    )
    page_size: int | None = key(
        Size("4KiB", "1GiB", power_of_two=True), "Granularity of dirty page tracking.", default=None
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        for index, transition in enumerate(self.transitions):
            if transition in self.transitions[:index]:
                yield f"transitions.{index}", f"`{' -> '.join(transition)}` is listed twice"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds beyond which the suite gives up."""

    largest_state: int = key(Size("1", "1024TiB"), "Bytes of a saved state at most.", default="1GiB")
    call: float = key(Duration("1ms", "24h"), "Longest time one call may take.", default="5s")
    test: float = key(Duration("1ms", "24h"), "Longest time one test may take.", default="30s")
    run: float = key(Duration("1ms", "720h"), "Longest time the whole run may take.", default="10min")

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.call > self.test:
            yield "call", f"one call ({self.call:g} s) would take longer than one test may ({self.test:g} s)"
        if self.test > self.run:
            yield "test", f"one test ({self.test:g} s) would take longer than the run may ({self.run:g} s)"


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A known deviation: the rule is broken, and reported as waived while it is broken in the listed way."""

    rule: str = key(
        Text("the id of a rule such as `v1.reserved.reads-zero`", r"[a-z0-9-]+(\.[a-z0-9-]+)+"),
        "Id of the rule.",
    )
    reason: str = key(Prose(), "Why this is accepted for now.")
    link: str | None = key(Text(), "Where it is tracked.", default=None)
    expires: datetime.date | None = key(
        Date(), "Last day on which it holds; later it is stale.", default=None
    )
    shows: str | None = key(
        Text(),
        "Text that the failure must contain in what was seen; another failure is not waived.",
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a profile says about one device."""

    format: int = key(OneOfNumbers(FORMAT), "Version of this format.")
    name: str = key(
        Text("a name of letters, digits, `.`, `_` and `-`", "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
        "Short name of the device, used in reports and names of files.",
    )
    description: str = key(Prose(), "What the device is, in a line.", default="")
    vendor: str | None = key(Text(), "Who makes it.", default=None)
    product: str | None = key(Text(), "What it is sold as.", default=None)
    driver: str | None = key(Text(), "The vendor driver under test.", default=None)
    version: str | None = key(Text(), "Its version, in quotes.", default=None)
    interface: Literal["migration_v1"] = key(
        Choice("migration_v1"), "The migration interface that is judged."
    )
    device: KernelGroupDevice | VfioUserDevice = key(
        Variant(
            "transport",
            {
                "vfio-user": Record(VfioUserDevice, at_least_one=("socket", "command")),
                "kernel-group": Record(KernelGroupDevice, exactly_one=("group", "sysfs")),
            },
        ),
        "How to reach the device.",
    )
    claims: Claims = key(
        Record(Claims), "Facts about the device that probing must agree with.", default=Claims()
    )
    limits: Limits = key(Record(Limits), "Bounds beyond which the suite gives up.")
    stimulus: Stimulus = key(Record(Stimulus), "How to make the device do something.", default=Stimulus())
    waivers: tuple[Waiver, ...] = key(
        ListOf(Record(Waiver), "a list of waivers"), "Known deviations of the device.", default=()
    )

    path: Path = Path()
    digest: str = ""
    places: Mapping[str, Place] = field(default_factory=dict, repr=False, compare=False)

    def where(self, dotted: str) -> str:
        """`file:line:column` of a key such as `stimulus.running.sample` or `waivers.0`.

        What the file leaves out gives the nearest key around it, or the file's beginning.
        """
        while dotted and dotted not in self.places:
            dotted = dotted.rpartition(".")[0]
        line, column = self.places.get(dotted, (1, 1))
        return f"{self.path}:{line}:{column}"
