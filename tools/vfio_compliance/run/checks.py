# SPDX-License-Identifier: GPL-2.0-only
"""How tests judge: each check names what was done, what was expected and what was seen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, NoReturn, TypeVar

from ..common.moment import AfterCall
from ..common.words import counted, enumerated
from ..device.errors import DeviceError, errno_name
from ..device.errors import Unreachable as Unreachable
from ..device.errors import given as given
from ..device.region import described
from ..results.failure import CHANGE, EQUAL, ERROR, ONE_OF, REST, SUCCESS, Compared
from ..transport import Outcome, PeerGone, ProtocolViolation

if TYPE_CHECKING:
    from .stimulus import Activity

T = TypeVar("T")


#: What a verb raises if the driver refuses.
Refused = DeviceError


class RuleBroken(AfterCall, AssertionError):
    """The driver broke the rule that the running test judges."""

    def __init__(
        self,
        what: str,
        expected: str,
        seen: str,
        *,
        path: str = "",
        options: str = "",
        compared: Compared | None = None,
        further: Sequence[RuleBroken] = (),
    ) -> None:
        """``path`` has a line for each step, ``options`` are those with which a run repeats it.

        ``compared`` says the same as ``expected`` and ``seen``, as data.
        ``further`` are other ways in which the same test saw the rule broken.
        """
        super().__init__(f"{what}: expected {expected}, seen {seen}")
        self.what = what
        self.expected = expected
        self.seen = seen
        self.path = path
        self.options = options
        self.compared = compared
        self.further = further


class NotApplicable(Exception):
    """A claim of the profile denies what the rule is about, or it cannot be expressed here; the message says which."""


class Silent(Exception):
    """The profile says nothing about ``key``, which the rule needs; a dotted key such as ``stimulus.running``."""

    def __init__(self, key: str, why: str = "") -> None:
        """``why`` it is needed, if what the profile says about it does not suffice."""
        super().__init__(why or f"the profile says nothing about {key}")
        self.key = key


def missing(key: str, *, denied: bool) -> NotApplicable | Silent:
    """What to raise if the profile does not give ``key``: it denies that there is such a thing, or says nothing."""
    return NotApplicable(f"the profile says that the device has no {key}") if denied else Silent(key)


class Unjudged(Exception):
    """The rule cannot be judged here, because something that it depends on failed; the message says what."""


@contextmanager
def unless(control: Callable[[], object], when: str) -> Iterator[None]:
    """A failure in the block is judged by this rule only if ``control``, which leaves its subject out, succeeds.

    ``when`` describes the circumstances of the control. Raises Unjudged if that fails as well.
    """
    try:
        yield
    except (RuleBroken, DeviceError, PeerGone, ProtocolViolation) as error:
        try:
            control()
        except (RuleBroken, DeviceError, PeerGone, ProtocolViolation) as same:
            raise Unjudged(f"the same fails {when}: {same}") from None
        raise error from None


def hexes(values: Iterable[int]) -> str:
    """Numbers in hexadecimal, for what is expected and seen."""
    return " ".join(f"0x{value:x}" for value in values)


def _plain(value: object) -> tuple[str, ...] | None:
    """A number, some numbers, or bytes, as in a journal; None for anything else."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return (f"sha256:{sha256(value).hexdigest()}",)
    if isinstance(value, int) and not isinstance(value, bool):
        return (hex(value),)
    if isinstance(value, (list, tuple)) and value and all(isinstance(each, int) for each in value):
        return tuple(map(hex, value))
    return None


def _compared(asked: str, value: object, values: Iterable[object]) -> Compared | None:
    seen, allowed = _plain(value), [_plain(each) for each in values]
    if seen is None or None in allowed:
        return None
    return Compared(asked, seen, tuple(each for those in allowed for each in those or ()))


def broken(what: str, *, expected: str, seen: str, compared: Compared | None = None) -> NoReturn:
    """Judge the rule broken; ``compared`` says the same as data, if that is possible."""
    raise RuleBroken(what, expected, seen, compared=compared)


def nothing_broken(found: Sequence[RuleBroken]) -> None:
    """Nothing was ``found``; otherwise the first one judges the rule, and the others are reported with it."""
    if found:
        first, *others = found
        first.further = others
        raise first


def broken_by(refusal: DeviceError) -> NoReturn:
    """Judge the rule broken by what the driver did in a flow."""
    with about(refusal.after):
        broken(refusal.what, expected=refusal.expected, seen=refusal.seen, compared=compared_by(refusal))


def compared_by(error: RuleBroken | DeviceError) -> Compared | None:
    """What a check compared, or that a verb was refused, as data; None if there is no such form."""
    if isinstance(error, RuleBroken):
        return error.compared
    return None if error.errno is None else Compared(SUCCESS, (hex(error.errno),))


@contextmanager
def about(call: int) -> Iterator[None]:
    """What is judged in the block was shown by the call with this running number, not by the last one."""
    try:
        yield
    except RuleBroken as error:
        error.after = call
        raise


def equal(what: str, seen: T, expected: T, show: Callable[[T], str] = str) -> None:
    """``seen`` is ``expected``; ``show`` puts a value into words."""
    if seen != expected:
        raise RuleBroken(what, show(expected), show(seen), compared=_compared(EQUAL, seen, [expected]))


def same_bytes(what: str, seen: bytes | memoryview, expected: bytes | memoryview) -> None:
    """``seen`` are the bytes that were ``expected``, too many to show."""
    if seen != expected:
        raise RuleBroken(what, "the same bytes", "others", compared=_compared(EQUAL, seen, [expected]))


def one_of(what: str, seen: T, allowed: Collection[T], show: Callable[[T], str] = str) -> None:
    """``seen`` is among ``allowed``."""
    if seen not in allowed:
        words = enumerated(dict.fromkeys(show(value) for value in allowed))
        raise RuleBroken(what, words, show(seen), compared=_compared(ONE_OF, seen, allowed))


def shows(when: str, seen: Iterable[int] | None, expected: Iterable[int] | None) -> None:
    """The device shows ``when`` exactly what it must show; the caller knows that something is expected."""
    assert expected is not None
    equal(f"observing the device {when}".rstrip(), [] if seen is None else seen, expected, hexes)


def flawless(failure: DeviceError | None) -> None:
    """Nothing failed in a flow, or not in what this rule judges; otherwise the failure says what is broken."""
    if failure:
        broken_by(failure)


# -- a device at work -----------------------------------------------------------------------------------------------


def continues(activity: Activity, when: str = "") -> None:
    """The device is seen to run ``when``."""
    if not activity.continues():
        did = f"watching {activity.name} for {activity.within:g} s {when}".rstrip()
        raise RuleBroken(did, "a change", "none", compared=Compared(CHANGE))


def stands_still(what: str, watched: tuple[int, int]) -> None:
    """The device is not seen to run: what Activity.watch() saw first and last is the same."""
    first, now = watched
    if now != first:
        raise RuleBroken(
            what, f"{first:#x} all the time", f"{now:#x}", compared=Compared(REST, (hex(now),), (hex(first),))
        )


def at_work(activity: Activity, when: str) -> None:
    """The device is seen to run ``when`` it is simply running. Raises Unjudged: there is nothing to compare."""
    if not activity.continues():
        raise Unjudged(f"{activity.name} does not change {when} either")


# -- answers --------------------------------------------------------------------------------------------------------


def in_words(outcome: Outcome) -> str:
    """The answer to a request, in words."""
    return errno_name(outcome.errno) if outcome.value < 0 else "success"


def accepted(what: str, outcome: Outcome, length: int) -> None:
    """A read or write of ``length`` bytes was carried out in full."""
    if outcome.value != length:
        raise RuleBroken(what, counted(length, "byte"), described(outcome), compared=_failed(outcome))


def refused(what: str, outcome: Outcome) -> None:
    """A read or write failed."""
    if outcome.value >= 0:
        raise RuleBroken(what, "an error", described(outcome), compared=Compared(ERROR))


def refused_with_errno(what: str, outcome: Outcome) -> None:
    """A read or write failed with an errno; any errno will do."""
    refused(what, outcome)
    if not outcome.errno:
        raise RuleBroken(what, "an error with an errno", "an error with errno 0")


def succeeded(what: str, outcome: Outcome) -> None:
    """A request succeeded."""
    if outcome.value < 0:
        raise RuleBroken(what, "success", errno_name(outcome.errno), compared=_failed(outcome))


def declined(what: str, outcome: Outcome) -> None:
    """A request failed; any errno will do, and so will none, as no rule about requests requires one."""
    if outcome.value >= 0:
        raise RuleBroken(what, "an error", "success", compared=Compared(ERROR))


def _failed(outcome: Outcome) -> Compared:
    """A call that should have been carried out in full: its errno, or nothing if it moved a part."""
    return Compared(SUCCESS, (hex(outcome.errno),) if outcome.value < 0 else ())
