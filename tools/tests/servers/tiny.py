# SPDX-License-Identifier: GPL-2.0-only
"""A vfio-user server with one particular behaviour: tiny.py BEHAVIOUR SOCKET."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys

from peer import Peer

VERSION = 1


def _serve(stream: socket.socket, behaviour: str, served: int) -> None:
    peer = Peer(stream)
    while True:
        try:
            request = peer.receive()
        except EOFError:
            return
        if request.command == VERSION:
            answer = bytes(4)
        elif behaviour == "crash":
            print("about to crash", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
            return
        elif behaviour == "leave":
            sys.exit(0)
        elif behaviour == "hang up":
            return
        elif behaviour == "silent" and not served:
            continue
        else:
            # A read returns the server's process and its number of earlier clients.
            answer = request.payload[:16] + struct.pack("<II", os.getpid(), served)
        peer.reply(request, answer)


def _end(how: str) -> None:
    """Work for a moment, then end by the named signal, or with a status."""
    print("cleaning up", flush=True)
    sum(range(300_000))
    if how.isdigit():
        sys.exit(int(how))
    os.kill(os.getpid(), signal.Signals[how])


def main() -> None:
    behaviour, path = sys.argv[1:3]
    if behaviour == "exit":
        print("first line\nno such device: 12\n", file=sys.stderr)
        sys.exit(3)
    if behaviour == "deaf":
        print("listening elsewhere", flush=True)
        signal.pause()
    if behaviour in ("stubborn", "silent and stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        behaviour = behaviour.removesuffix(" and stubborn")
    if behaviour == "upset by the end":
        signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGSEGV))
    if behaviour == "talkative":
        print("x" * 200_000, file=sys.stderr, flush=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    served = 0
    while True:
        stream, _ = listener.accept()
        with stream:
            _serve(stream, behaviour, served)
        served += 1
        if behaviour == "once":
            sys.exit(0)
        if behaviour.startswith("cleanup ends in "):
            _end(behaviour.rpartition(" ")[2])


main()
