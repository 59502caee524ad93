# SPDX-License-Identifier: GPL-2.0-only
"""The events of a run: one class for each, with all that the journal has of it.

The name of a class in small letters is the name of its event. A ``case`` is the whole name of a case; it is None for
what happened outside of any. A change of an event's fields raises ``journal.FORMAT``; a new field with a default does
not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, TypeAlias, get_args

from ..common.calls import Call, Calls, Span
from ..rules import Rule
from .failure import Failure
from .fields import APART
from .flows import Measures
from .inflight import LastCall
from .kernel_log import INDENT
from .setting import ChosenPlan, GivenFile, JudgedProfile, KernelWarning, Selection, Skip, UsedRegion, Waiver
from .totals import Totals
from .verdict import Verdict

#: How many times a run may run all its cases.
MOST_ROUNDS: Final = 1000

# -- the run as a whole -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """The first event: all that a report needs to know about the run. Raises ValueError for too many rounds."""

    #: Version of the journal's format.
    format: int
    #: Version of this program.
    version: str
    profile: JudgedProfile
    #: The profile's description of the device.
    description: str
    interfaces: tuple[str, ...]
    device: Mapping[str, str]
    #: Name and release of the kernel.
    kernel: str
    #: The defects by which the device is broken on purpose.
    defects: tuple[str, ...]
    #: The seed of all that is random.
    seed: int
    limits: Mapping[str, float]
    plan: ChosenPlan
    selection: Selection
    skips: tuple[Skip, ...]
    waivers: tuple[Waiver, ...]
    #: The titles of the areas of rules.
    areas: Mapping[str, str]
    #: All rules, in full.
    rules: tuple[Rule, ...]
    #: Whether the cases ran in a random order, given by the seed.
    shuffled: bool = False
    #: How long a reset and a save of the whole state take, in seconds, as far as the profile says.
    times: Mapping[str, float] = field(default_factory=dict)
    #: How many times all cases are to be run.
    rounds: int = 1
    #: The files of waivers, in addition to the profile.
    waiver_files: tuple[GivenFile, ...] = ()
    #: Warnings of the kernel that are listed as known.
    kernel_warnings: tuple[KernelWarning, ...] = ()
    #: Version of the driver under test, as reported by the kernel, else by the profile; empty if unknown.
    driver_version: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= MOST_ROUNDS:
            raise ValueError(f"rounds: 1 to {MOST_ROUNDS}")


@dataclass(frozen=True, slots=True)
class Environment:
    """What the run is made with, so that it can be continued in the same way, and shown to others."""

    #: Suite, rule set, kernel, driver, device, host: each by name, as far as it could be read.
    facts: Mapping[str, str]
    #: SHA-256 of each file that says what is judged and how, by its path: profile, plan, waivers.
    inputs: Mapping[str, str]
    #: The options of each test process.
    options: tuple[str, ...]
    #: The working directory, to which paths are relative.
    directory: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The cases that were selected, each with its rule."""

    cases: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Process:
    """A new test process continues the run."""

    #: Counted from 1.
    number: int
    why: str
    #: Counted from 1; in a new round, all cases are run again.
    round: int = 1


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run that had ended early is being resumed, by a new test process."""

    #: Cases that have no verdict yet.
    left: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The watcher of the run saw it end: the last record, unless the run is resumed."""

    #: Lines of the journal before this one.
    records: int
    #: SHA-256 of these lines, in hexadecimal.
    digest: str


@dataclass(frozen=True, slots=True)
class Finish:
    """A test process finished: its totals."""

    calls: int
    opens: int
    resets: int
    bytes_read: int
    bytes_written: int
    #: How often the whole state of a device was saved.
    passes: int
    #: Nanoseconds spent in calls, and how many of them in resets; missing in old journals.
    call_ns: int = 0
    reset_ns: int = 0


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth reporting that is not a verdict."""

    text: str


#: The answer for a state that was not given to the device, and for one that is being given to it.
NOT_TRIED: Final = "not tried"
UNDER_WAY: Final = "no answer"


@dataclass(frozen=True, slots=True)
class State:
    """A state from a file is given to the device at the end of the run; the answer is not a verdict.

    The last of these events on a state counts: the first one comes before the cases are run.
    """

    #: The driver that it is of, when it was saved, and in which file.
    of: str
    #: Whether it is restored, in a few words.
    answer: str
    #: What was seen.
    seen: str
    #: How the device that was saved differs from this one, a line each.
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changed:
    """A file of the host is about to be written."""

    path: str
    #: Its former content.
    before: str


@dataclass(frozen=True, slots=True)
class Restored:
    """A file of the host has its former content again."""

    path: str


# -- the device -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """One of several ways to reach the device is about to be used."""

    #: Counted from 0.
    way: int
    ways: int


@dataclass(frozen=True, slots=True)
class Opening:
    """A test process opened the device, or tried to: the calls by which it did."""

    calls: Annotated[Sequence[Call], Calls.from_json]


@dataclass(frozen=True, slots=True)
class Target:
    """The device was opened: what it reported about itself."""

    identity: Mapping[str, str]
    #: The regions through which interfaces are used.
    regions: tuple[UsedRegion, ...] = ()


@dataclass(frozen=True, slots=True)
class Kernel:
    """The kernel complained, or got tainted."""

    #: Complaints; a line that begins with a blank says where the kernel was at the complaint before.
    lines: tuple[str, ...]
    case: str | None
    #: The last call before the first of these lines.
    call: LastCall | None = None

    def __str__(self) -> str:
        """In lines."""
        call = [f"{INDENT}last call before it: {self.call}"] if self.call else []
        return "\n".join([*self.lines[:1], *call, *self.lines[1:]])


@dataclass(frozen=True, slots=True)
class Death:
    """A server ended that should be running."""

    #: "the server" or "the second server".
    who: str
    #: A clause without a subject.
    how: str
    when: str
    #: Whether it had a request to answer at that time, or could still get one.
    asked: bool
    case: str | None

    def __str__(self) -> str:
        """In one sentence."""
        return f"{self.when}, {self.who} {self.how}"


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A call did not return on the way to a case: this gives a verdict on the device, not on the case."""

    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Hang:
    """A call did not return, and the test process was ended, or could not begin."""

    message: str
    remedy: str
    case: str | None
    #: The call, if it was seen from outside.
    call: LastCall | None = None
    #: What /proc reported about the test process then, by the name of the file.
    process: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """This test process can no longer reach the device; another one may."""

    message: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The run could not continue, or the test process ended in the middle of a case."""

    message: str
    remedy: str
    case: str | None


# -- one case ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """A case begins."""

    case: str
    rule: str


@dataclass(frozen=True, slots=True)
class Explored:
    """An exploration continues."""

    #: Number of steps or rounds by now.
    steps: int


@dataclass(frozen=True, slots=True)
class End:
    """A case is over. Raises ValueError if it did not pass and no reason is given."""

    case: str
    rule: str
    verdict: Verdict
    seconds: float
    failure: Failure | None
    #: What the device did where the specification is silent: a question, and the answer.
    observed: Mapping[str, str]
    #: The calls that were made, in order. A journal has them in a line of their own, before this event: there are very
    #: many of them, and few are looked at.
    calls: Sequence[Call] = field(default=(), metadata=APART)
    #: Running number of the call that shows the failure; 0 without one.
    failed_call: int = 0
    #: Calls of other cases that its verdict is based on.
    stands_on: tuple[Annotated[Span, Span.from_json], ...] = ()
    #: Whether what it did depends on the seed of the run.
    seeded: bool = False
    #: How often the whole state of a device was saved.
    passes: int = 0
    #: Nanoseconds spent in calls since the end of the case before, and how many of them in resets; missing in old
    #: journals.
    call_ns: int = 0
    reset_ns: int = 0
    #: Time and bytes of the calls.
    totals: Totals = field(default_factory=Totals)
    measures: Measures = field(default_factory=Measures)

    def __post_init__(self) -> None:
        if self.verdict is not Verdict.PASS and self.failure is None:
            raise ValueError(f"{self.verdict.value}, without a reason")


@dataclass(frozen=True, slots=True)
class Rerun:
    """A case that failed was repeated by a run of its own, to check whether its rerun command shows the failure."""

    case: str
    #: The verdict of the rerun.
    verdict: Verdict
    #: The earlier cases that ran before it, in the same order; none if it ran alone.
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Programs:
    """Programs were made that show a failed case again, or could not be made."""

    case: str
    #: Their paths; empty if there are no programs.
    files: tuple[str, ...]
    #: Whether they were seen to show the failure.
    shown: bool
    #: How short they are and how often the fault showed; or why none was made.
    remark: str


# -- what only the watcher of a run gets ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unwritten:
    """The journal can no longer be written."""

    message: str
    remedy: str


Event: TypeAlias = (
    Run
    | Environment
    | Plan
    | Process
    | Resumed
    | Closed
    | Finish
    | Note
    | State
    | Changed
    | Restored
    | Way
    | Opening
    | Target
    | Kernel
    | Death
    | Unanswered
    | Hang
    | Lost
    | Broken
    | Start
    | Explored
    | End
    | Rerun
    | Programs
    | Unwritten
)


def name(kind: type[Event]) -> str:
    """The name of this class of events in a journal."""
    return kind.__name__.lower()


#: Each class by the name of its event.
KINDS: Final[Mapping[str, type[Event]]] = {name(kind): kind for kind in get_args(Event)}
