# SPDX-License-Identifier: GPL-2.0-only
"""The reference device with a driver that reads states of an unknown layout as its own."""

from __future__ import annotations

import sys

from refdriver.__main__ import main
from refdriver.migration_v1.stream import Incoming
from refdriver.overlays import defect

NAME = "resume-any-layout"


@defect(NAME, "in RESUMING, a buffer is read in the driver's own layout, not in the one that it names")
class AnyLayout(Incoming):
    def _layout_of(self, kind: int) -> int:
        return self.newest


sys.exit(main([*sys.argv[1:], f"--defect={NAME}"]))
