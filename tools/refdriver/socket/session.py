# SPDX-License-Identifier: GPL-2.0-only
"""One client from the first message to the last: the driver executes each command, and the answer is sent back."""

from __future__ import annotations

from collections.abc import Mapping
from errno import EINVAL, EOPNOTSUPP
from typing import Protocol

from ..refusal import Refusal
from . import wire
from .connection import Breach, Connection, Message, close_all
from .negotiation import Agreement, negotiate
from .negotiation import answer as greeting
from .requests import Handler

#: If the specification names no errno.
_ANY_ERRNO = frozenset({wire.REGION_READ, wire.REGION_WRITE, wire.DMA_UNMAP, wire.DIRTY_PAGES})


class Driver(Protocol):
    """Executes the commands of one client after another."""

    #: By command.
    handlers: Mapping[int, Handler]
    #: Most bytes of data in one message to it.
    largest_transfer: int
    #: The errno of all refusals for which the specification does not name one; 0: each its own.
    errno: int

    def open(self, peer: Connection) -> None:
        """A client has connected."""

    def agree(self, agreement: Agreement) -> None:
        """The client has announced its capabilities."""

    def close(self) -> None:
        """The client has gone."""

    @property
    def restless(self) -> bool:
        """Whether ``tick`` has to be called from time to time."""

    def tick(self) -> None:
        """Do the work that is due without a request by the client."""


class Session:
    """Serves one client. Commands are executed in the order in which they arrive.

    Everything happens on one thread: the driver does its own work between commands or while the client is silent,
    never while a command is being executed. So a device that a command stops has stopped before the reply
    is sent.
    """

    def __init__(self, driver: Driver, connection: Connection) -> None:
        self._driver = driver
        self._connection = connection

    def run(self) -> None:
        """Serve until the client leaves. Always ends by raising Gone or Breach."""
        self._greet()
        driver, connection = self._driver, self._connection
        while True:
            if driver.restless:
                driver.tick()
                if not connection.ready(1):
                    continue
            self._carry_out(connection.receive())

    def _greet(self) -> None:
        """The client's first command must be VERSION; without an agreement it cannot be served."""
        message = self._connection.receive()
        close_all(message.fds)
        try:
            if message.command != wire.VERSION:
                raise Refusal(EINVAL)
            agreement = negotiate(message.body)
        except Refusal as refusal:
            self._connection.refuse(message, refusal.errno)
            raise Breach("no agreement on a version and capabilities") from refusal
        self._connection.peer_max_data = agreement.peer_max_data
        self._driver.agree(agreement)
        self._connection.reply(message, greeting(agreement.minor, self._driver.largest_transfer))

    def _carry_out(self, message: Message) -> None:
        wanted = not message.flags & wire.NO_REPLY
        try:
            handler = self._driver.handlers.get(message.command)
            if handler is None:
                raise Refusal(EINVAL if message.command == wire.VERSION else EOPNOTSUPP)
            answer = handler(message.body, message.fds)
        except Refusal as refusal:
            if wanted:
                own = self._driver.errno if message.command in _ANY_ERRNO else 0
                self._connection.refuse(message, own or refusal.errno)
        else:
            if wanted:
                self._connection.reply(message, *answer)
        finally:
            if message.fds:
                close_all(message.fds)
