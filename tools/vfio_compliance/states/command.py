# SPDX-License-Identifier: GPL-2.0-only
"""Saving the state of a profile's device to a file, and restoring it from one."""

from __future__ import annotations

import datetime
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..common.moment import count_calls
from ..common.signals import terminated_as_interrupted
from ..interfaces import INTERFACES
from ..profiles import Profile
from ..run.checks import NotApplicable, Silent, Unjudged
from ..run.errors import Broken, Lost, ProfileFault
from ..run.keeping import Given, Keeper, Kept, Taken
from ..run.session import Session
from ..transport import CallTimeout, TransportError
from .archive import StateFile, new_file, write
from .identity import differences, identity_of
from .manifest import Buffer, Manifest, Shown


class NotReached(Exception):
    """The device, the host or the profile did not let it come to a result; ``hang``: a call did not return."""

    def __init__(self, message: str, *, hang: bool = False) -> None:
        super().__init__(message)
        self.hang = hang


@dataclass(frozen=True)
class Restored:
    """What came of a state that was given to a device."""

    given: Given
    manifest: Manifest
    #: In what the device here differs from the one that was saved, a line each.
    differs: Sequence[str]


def save(profile: Profile, path: Path, *, live: bool) -> Manifest:
    """Save the state of the device to a new file; what stands in it. Raises StateError, NotReached, DeviceError."""
    with new_file(path) as file, _opened(profile) as (session, interface, keeper):
        taken = keeper.take(live=live)
        manifest = _describe(session, interface, taken)
        stream = taken.stream
        write(file, manifest, itertools.chain.from_iterable(map(stream.pieces, stream.buffers)))
    return manifest


def restore(profile: Profile, path: Path) -> Restored:
    """Give the device the state of a file. Raises StateError before the device is touched; NotReached, DeviceError."""
    with StateFile(path, profile.limits.largest_state) as state, _opened(profile) as (session, interface, keeper):
        return _give(session, interface, keeper, state)


def give(session: Session, state: StateFile) -> Restored:
    """The same with a device that is open, and stays so. Raises NotReached, DeviceError, StateError."""
    with _reaching():
        return _give(session, *_keeper(session), state)


def _give(session: Session, interface: str, keeper: Keeper, state: StateFile) -> Restored:
    manifest, profile = state.manifest, session.profile
    if manifest.interface != interface:
        raise NotReached(
            f"{state.path}: a state of {manifest.interface}, and the device has {interface}: use a profile that has it"
        )
    shown = manifest.shown if manifest.shown and manifest.shown.how == _how(profile) else None
    sizes = [buffer.size for buffer in manifest.buffers]
    given = keeper.give(Kept(sizes, state.pieces, shown.numbers() if shown else None))
    return Restored(given, manifest, differences(manifest.identity, identity_of(session, _suite(), _now())))


@contextmanager
def _opened(profile: Profile) -> Iterator[tuple[Session, str, Keeper]]:
    """The device of the profile, its interface that moves states, and what moves them. Raises NotReached."""
    with terminated_as_interrupted(), _reaching():
        session = Session(profile, [], INTERFACES)
        tracer = session.transport.tracer
        tracer.begin("state")
        count_calls(lambda: tracer.last)
        try:
            session.start()
            yield session, *_keeper(session)
        finally:
            session.finish()


@contextmanager
def _reaching() -> Iterator[None]:
    """Raises NotReached for what keeps the block from coming to a result."""
    try:
        yield
    except CallTimeout as error:
        raise NotReached(f"{error.message}; {error.remedy}", hang=True) from None
    except (Broken, TransportError, ProfileFault) as error:
        raise NotReached(f"{error.message}; {error.remedy}") from None
    except (Lost, NotApplicable, Silent, Unjudged) as error:
        raise NotReached(str(error)) from None


def _keeper(session: Session) -> tuple[str, Keeper]:
    """The interface of the device that moves states, and what moves them. Raises NotReached."""
    for interface in INTERFACES:
        if interface.name in session.profile.interfaces and (keeper := interface.keeper(session)):
            return interface.name, keeper
    raise NotReached("the device has nothing by which states are moved: " + _missing(session))


def _missing(session: Session) -> str:
    return next((each.missing for each in session.attachments if each.missing), "see `interfaces` of the profile")


def _describe(session: Session, interface: str, taken: Taken) -> Manifest:
    stream = taken.stream
    buffers = []
    for buffer, read_in in zip(stream.buffers, taken.read_in, strict=True):
        digest = hashlib.sha256()
        for piece in stream.pieces(buffer):
            digest.update(piece)
        buffers.append(Buffer(buffer.size, digest.hexdigest(), buffer.offset, read_in))
    shown = None if taken.shown is None else Shown.of(_how(session.profile), taken.shown)
    return Manifest(interface, identity_of(session, _suite(), _now()), tuple(buffers), shown)


def _how(profile: Profile) -> str:
    """The digest of how the profile has a state shown: values that were read otherwise are not compared."""
    visible = profile.stimulus.visible_state
    return hashlib.sha256(repr(visible.observe if visible else None).encode()).hexdigest()


def _suite() -> str:
    return f"vfio-compliance {__version__}"


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
