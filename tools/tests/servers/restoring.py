# SPDX-License-Identifier: GPL-2.0-only
"""The reference device with a driver that restores states badly: restoring.py HOW --socket-path=SOCKET [OPTION...]

any-layout   it reads states of an unknown layout as its own
dies, hangs  it ends, or no longer answers, when it gets a state
"""

from __future__ import annotations

import os
import sys
import time

from refdriver.__main__ import main
from refdriver.migration_v1.stream import Incoming
from refdriver.overlays import defect


@defect("any-layout", "in RESUMING, a buffer is read in the driver's own layout, not in the one that it names")
class AnyLayout(Incoming):
    def _layout_of(self, kind: int) -> int:
        return self.newest


@defect("dies", "in RESUMING, the first buffer ends the server")
class Dies(Incoming):
    def _layout_of(self, kind: int) -> int:
        os._exit(3)


@defect("hangs", "in RESUMING, the first buffer makes the server hang")
class Hangs(Incoming):
    def _layout_of(self, kind: int) -> int:
        time.sleep(3600)
        return self.newest


HOW = sys.argv.pop(1)
sys.exit(main([*sys.argv[1:], f"--defect={HOW}"]))
