# SPDX-License-Identifier: GPL-2.0-only
"""One device by another author: ``python server.py --style=NAME --socket-path=PATH [--scratch=DIR]``."""

from __future__ import annotations

import os
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import styles


def main() -> None:
    """Listen, and serve until SIGTERM."""
    options = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
    listener = socket.socket(socket.AF_UNIX)
    path = options["socket-path"]
    if os.path.exists(path):
        os.unlink(path)
    listener.bind(path)
    listener.listen(4)
    device = styles.STYLES[options["style"]](listener)
    device.scratch = options.get("scratch", "")
    device.serve()


if __name__ == "__main__":
    main()
