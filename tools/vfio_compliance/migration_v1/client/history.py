# SPDX-License-Identifier: GPL-2.0-only
"""Everything that a client saved, session by session: what it may write to a device that resumes.

A session is a stay in pre-copy and stop-and-copy, in any order. It is complete if it ended in stop-and-copy with
pending_bytes at 0; going back to pre-copy begins another one. A client may write the data of abandoned sessions (a
reset, a cancelled migration) as received, in order, before that of the next session, or leave it out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

from . import stream
from .stream import Stream, Transaction

#: Sessions that are remembered.
_MOST_SESSIONS = 64

UNSEEN = "not all of what was saved can be known from the trace"
TOO_MUCH = "more buffers were saved than a judge remembers"
ELSEWHERE = "what was given to a resuming device was not saved in this trace; --source names the one where it was"


class Chain:
    """Sessions that were abandoned or continued, one after another, and the complete one that ended them, if any."""

    def __init__(self, sessions: Sequence[Stream]) -> None:
        self.buffers: list[Transaction] = []
        #: Where the buffers of each session begin.
        self.starts: list[int] = []
        #: From this buffer on some may be missing; None: none is.
        self.known: int | None = None
        #: Where the buffers of complete ones begin and end.
        self.whole: set[tuple[int, int]] = set()
        self.complete = sessions[-1].complete
        for session in sessions:
            if session.known is not None and self.known is None:
                self.known = len(self.buffers) + session.known
            self.starts.append(len(self.buffers))
            self.buffers += session.buffers
            if session.complete:
                self.whole.add((self.starts[-1], len(self.buffers)))

    @cached_property
    def places(self) -> dict[tuple[int, bytes, bytes], list[int]]:
        """Where the buffers with a content are."""
        places: defaultdict[tuple[int, bytes, bytes], list[int]] = defaultdict(list)
        for place, buffer in enumerate(self.buffers):
            if buffer.key:
                places[buffer.key].append(place)
        return dict(places)


class History:
    """The sessions of one trace."""

    def __init__(self) -> None:
        self._sessions: list[Stream] = []
        #: Why there may have been unknown sessions; empty if there were none.
        self.doubt = ""
        #: The device has not been used further since the last state was saved.
        self.fresh = False

    def begin(self) -> Stream:
        """A new session."""
        if self._sessions and self._sessions[-1].empty:
            self._sessions.pop()
        while self._sessions and (
            len(self._sessions) >= _MOST_SESSIONS
            or sum(len(session.buffers) for session in self._sessions) >= stream.MOST_BUFFERS
        ):
            self.doubt = self.doubt or TOO_MUCH
            del self._sessions[0]
        self._sessions.append(Stream())
        return self._sessions[-1]

    def lose(self) -> None:
        """Accesses are missing: anything may have been saved in them."""
        self.doubt = UNSEEN
        if self._sessions:
            self._sessions[-1].lose()

    @property
    def sessions(self) -> list[Stream]:
        """The sessions in which something was saved, or nothing had to be."""
        return [session for session in self._sessions if not session.empty]

    @property
    def complete(self) -> bool:
        """Whether the last action was to save a state to its end."""
        return bool(self._sessions) and self._sessions[-1].complete

    @property
    def bytes(self) -> int:
        """How many bytes were saved last."""
        return sum(buffer.size for buffer in self._sessions[-1].buffers) if self._sessions else 0

    def chains(self) -> list[Chain]:
        """What may be written, the latest first."""
        chains: list[Chain] = []
        group: list[Stream] = []
        for session in self.sessions:
            group.append(session)
            if session.complete and not session.continued:
                chains.append(Chain(group))
                group = []
        if group:
            chains.append(Chain(group))
        return chains[::-1]
