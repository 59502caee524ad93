# SPDX-License-Identifier: GPL-2.0-only
"""The reference device with a driver that dies when it gets a state, or no longer answers."""

from __future__ import annotations

import os
import sys
import time

from refdriver.__main__ import main
from refdriver.migration_v1.stream import Incoming
from refdriver.overlays import defect

NAME = "resume-is-the-end"


@defect(NAME, "in RESUMING, the first buffer ends the server, or makes it hang")
class Mortal(Incoming):
    def _layout_of(self, kind: int) -> int:
        if HOW == "hangs":
            time.sleep(3600)
        os._exit(3)


HOW = sys.argv.pop()
sys.exit(main([*sys.argv[1:], f"--defect={NAME}"]))
