# SPDX-License-Identifier: GPL-2.0-only
"""A program that behaves as a vfio-user server in one particular way: tiny_server.py WAY SOCKET."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys


def _message(stream: socket.socket) -> tuple[int, int, bytes] | None:
    header = stream.recv(16, socket.MSG_WAITALL)
    if len(header) < 16:
        return None
    number, command, size, _, _ = struct.unpack("<HHIII", header)
    payload = stream.recv(size - 16, socket.MSG_WAITALL) if size > 16 else b""
    return number, command, payload


def _serve(stream: socket.socket, way: str, served: int) -> None:
    while (message := _message(stream)) is not None:
        number, command, payload = message
        if command == 1:
            answer = bytes(4)
        elif way == "crash":
            print("about to crash", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
            return
        elif way == "leave":
            sys.exit(0)
        elif way == "hang up":
            return
        elif way == "silent" and not served:
            continue
        else:
            # What a read gives: the server's process and how many clients it has had.
            answer = payload[:16] + struct.pack("<II", os.getpid(), served)
        stream.sendall(struct.pack("<HHIII", number, command, 16 + len(answer), 1, 0) + answer)


def _end(how: str) -> None:
    """Some work first, then a signal by its name, or a status."""
    print("cleaning up", flush=True)
    sum(range(300_000))
    if how.isdigit():
        sys.exit(int(how))
    os.kill(os.getpid(), signal.Signals[how])


def main() -> None:
    way, path = sys.argv[1:3]
    if way == "exit":
        print("first line\nno such device: 12\n", file=sys.stderr)
        sys.exit(3)
    if way == "deaf":
        print("listening elsewhere", flush=True)
        signal.pause()
    if way in ("stubborn", "silent and stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        way = way.removesuffix(" and stubborn")
    if way == "upset by the end":
        signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGSEGV))
    if way == "talkative":
        print("x" * 200_000, file=sys.stderr, flush=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    served = 0
    while True:
        stream, _ = listener.accept()
        with stream:
            _serve(stream, way, served)
        served += 1
        if way == "once":
            sys.exit(0)
        if way.startswith("cleanup ends in "):
            _end(way.rpartition(" ")[2])


main()
