# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's monitor (QMP): makes a guest that does not answer report where it is."""

import json
import socket
import time
from pathlib import Path

_SECONDS = 2.0


def arguments(path: Path) -> list[str]:
    """For QEMU; ``path`` is that of the socket, which may have 107 bytes."""
    return ["-qmp", f"unix:{path},server=on,wait=off"]


def interrupt(path: Path) -> bool:
    """Sends each processor of the guest a non-maskable interrupt, at which its kernel prints where it was.

    Returns whether QEMU accepted the command.
    """
    deadline = time.monotonic() + _SECONDS
    try:
        with socket.socket(socket.AF_UNIX) as connected:
            connected.settimeout(_SECONDS)
            connected.connect(str(path))
            with connected.makefile("rw", encoding="utf-8") as stream:
                for order in ("qmp_capabilities", "inject-nmi"):
                    stream.write(json.dumps({"execute": order}) + "\n")
                    stream.flush()
                    while "return" not in (answer := json.loads(stream.readline(1 << 16))):
                        if "error" in answer or time.monotonic() > deadline:
                            return False
        return True
    except (OSError, ValueError):
        return False
