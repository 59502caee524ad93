# SPDX-License-Identifier: GPL-2.0-only
"""Saving the state of a profile's device to a file, and restoring it from one."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .. import __version__
from ..common.moment import count_calls
from ..common.signals import terminated_as_interrupted
from ..interfaces import INTERFACES
from ..profiles import Profile
from ..results.inflight import Inflight
from ..run.checks import NotApplicable, Silent, Unjudged
from ..run.errors import Broken, Lost, ProfileFault
from ..run.keeping import Given, Keeper, Kept, Taken
from ..run.session import Session
from ..transport import CallTimeout, TransportError
from .archive import StateError, StateFile, new_file, write
from .identity import differences, identity_of
from .manifest import Buffer, Manifest, Shown


class NotReached(Exception):
    """The device, the host or the profile prevented a result; ``hang``: a call did not return."""

    def __init__(self, message: str, *, hang: bool = False) -> None:
        super().__init__(message)
        self.hang = hang


@dataclass(frozen=True)
class Restored:
    """The result of giving a state to a device."""

    given: Given
    manifest: Manifest
    #: How this device differs from the one that was saved, a line each.
    differs: Sequence[str]


def save(profile: Profile, path: Path, *, live: bool) -> Manifest:
    """Save the state of the device to a new file; its manifest. Raises StateError, NotReached, DeviceError."""
    with new_file(path) as file:
        return save_into(file, profile, live=live)


def save_into(file: BinaryIO, profile: Profile, *, live: bool, calls: Inflight | None = None) -> Manifest:
    """The same to an open file. Each call is noted in ``calls`` before it is made. Raises OSError, too."""
    with _opened(profile, calls) as (session, interface, keeper):
        try:
            taken = keeper.take(live=live)
        except OSError as error:
            folder = tempfile.gettempdir()
            raise StateError(f"{folder}: {error.strerror}; set TMPDIR to a folder with room for the state") from None
        identity = identity_of(session, _suite(), _now())
    # The device is no longer needed while its state is written.
    manifest = _describe(profile, identity, interface, taken)
    write(file, manifest, itertools.chain.from_iterable(map(taken.stream.pieces, taken.stream.buffers)))
    return manifest


def restore(profile: Profile, path: Path, calls: Inflight | None = None) -> Restored:
    """Give the device the state of a file. Raises StateError before the device is touched; NotReached, DeviceError.

    Each call is noted in ``calls`` before it is made.
    """
    largest = profile.limits.largest_state
    with StateFile(path, largest) as state, _opened(profile, calls) as (session, interface, keeper):
        return _give(session, interface, keeper, state)


def give(session: Session, state: StateFile) -> Restored:
    """The same with an open device, which stays open. Raises NotReached, DeviceError, StateError."""
    with _reaching():
        return _give(session, *_keeper(session), state)


def _give(session: Session, interface: str, keeper: Keeper, state: StateFile) -> Restored:
    manifest, profile = state.manifest, session.profile
    if manifest.interface != interface:
        raise NotReached(
            f"{state.path}: a state of {manifest.interface}, but the device has {interface}: use a profile that has it"
        )
    shown = manifest.shown if manifest.shown and manifest.shown.how == _how(profile) else None
    sizes = [buffer.size for buffer in manifest.buffers]
    why = "the profile that it was saved with " + (
        "shows the state in another way" if manifest.shown else "shows no state"
    )
    given = keeper.give(Kept(sizes, state.pieces, shown.numbers() if shown else None, "" if shown else why))
    return Restored(given, manifest, differences(manifest.identity, identity_of(session, _suite(), _now())))


@contextmanager
def _opened(profile: Profile, calls: Inflight | None) -> Iterator[tuple[Session, str, Keeper]]:
    """The profile's device, the interface that moves states, and its keeper. Raises NotReached."""
    with terminated_as_interrupted(), _reaching():
        session = Session(profile, [], INTERFACES)
        tracer = session.transport.tracer
        tracer.begin("state")
        tracer.on_begin = calls.begin if calls else None
        count_calls(lambda: tracer.last)
        try:
            session.start()
            yield session, *_keeper(session)
        finally:
            session.finish()
            if calls:
                calls.none()


@contextmanager
def _reaching() -> Iterator[None]:
    """Turn errors that prevent a result into NotReached."""
    try:
        yield
    except CallTimeout as error:
        raise NotReached(f"{error.message}; {error.remedy}", hang=True) from None
    except (Broken, TransportError, ProfileFault) as error:
        raise NotReached(f"{error.message}; {error.remedy}") from None
    except (Lost, NotApplicable, Silent, Unjudged) as error:
        raise NotReached(str(error)) from None


def _keeper(session: Session) -> tuple[str, Keeper]:
    """The interface of the device that moves states, and its keeper. Raises NotReached."""
    for interface in INTERFACES:
        if interface.name in session.profile.interfaces and (keeper := interface.keeper(session)):
            return interface.name, keeper
    raise NotReached("the device has no interface that moves states: " + _missing(session))


def _missing(session: Session) -> str:
    return next((each.missing for each in session.attachments if each.missing), "see `interfaces` of the profile")


def _describe(profile: Profile, identity: dict[str, str], interface: str, taken: Taken) -> Manifest:
    stream = taken.stream
    buffers = []
    for buffer, read_in in zip(stream.buffers, taken.read_in, strict=True):
        digest = hashlib.sha256()
        for piece in stream.pieces(buffer):
            digest.update(piece)
        buffers.append(Buffer(buffer.size, digest.hexdigest(), buffer.offset, read_in))
    shown = None if taken.shown is None else Shown.of(_how(profile), taken.shown)
    return Manifest(interface, identity, tuple(buffers), shown)


def _how(profile: Profile) -> str:
    """The digest of how the profile shows a state: values that were read in another way are not compared."""
    visible = profile.stimulus.visible_state
    return hashlib.sha256(_described(visible.observe if visible else None).encode()).hexdigest()


def _described(value: Any) -> str:
    """Steps as a text that is the same in each process, although the order of sets varies."""
    if is_dataclass(value):
        given = {each.name: getattr(value, each.name) for each in fields(value)}
        known = sorted((name, _described(each)) for name, each in given.items() if each is not None)
        return f"{type(value).__name__}{known}"
    if isinstance(value, (tuple, frozenset)):
        parts = map(_described, value)
        return str(sorted(parts) if isinstance(value, frozenset) else [*parts])
    return repr(value)


def _suite() -> str:
    return f"vfio-compliance {__version__}"


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
