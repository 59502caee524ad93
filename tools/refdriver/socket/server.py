# SPDX-License-Identifier: GPL-2.0-only
"""The listening socket, on which one driver serves one client after another."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys

from .connection import Breach, Connection, Gone
from .session import Driver, Session


class CannotServe(Exception):
    """The requested socket cannot be used; the message says which one and why."""


def serve_client(driver: Driver, sock: socket.socket, verbose: bool) -> None:
    """Serve one connected client until it leaves or has to be dropped."""
    connection = Connection(sock)
    driver.open(connection)
    try:
        Session(driver, connection).run()
    except Gone:
        pass
    except Breach as breach:
        if verbose:
            print(f"refdriver: client dropped: {breach}", file=sys.stderr, flush=True)
    finally:
        driver.close()
        connection.close()


def serve_forever(driver: Driver, path: str, verbose: bool) -> None:
    """Listen at a path and serve clients, one at a time; ends only by an exception.

    The socket file is removed at the end, unless another process has replaced it.
    """
    with listen(path) as listener:
        ours = _identity(path)
        try:
            while True:
                sock, _ = listener.accept()
                serve_client(driver, sock, verbose)
        finally:
            with contextlib.suppress(OSError):
                if _identity(path) == ours:
                    os.unlink(path)


def listen(path: str) -> socket.socket:
    """A listening socket at a path; raises CannotServe. A file left by a dead server is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_left_over(path):
            os.unlink(path)
        listener.bind(path)
        listener.listen()
    except (OSError, ValueError) as error:  # ValueError: a NUL inside the path
        listener.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CannotServe(f"cannot listen at {path!r}: {reason}") from error
    return listener


def connected(fd: int) -> socket.socket:
    """The connected stream socket of this descriptor; raises CannotServe."""
    try:
        sock = socket.socket(fileno=fd)
        sock.getpeername()
    except OSError as error:
        raise CannotServe(f"descriptor {fd} is not a connected socket: {error.strerror}") from error
    if sock.type != socket.SOCK_STREAM or sock.family != socket.AF_UNIX:
        raise CannotServe(f"descriptor {fd} is not a UNIX stream socket")
    return sock


def _is_left_over(path: str) -> bool:
    """Whether there is a socket file on which no server listens."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a busy server's queue may be full
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
