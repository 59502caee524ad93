# SPDX-License-Identifier: GPL-2.0-only
"""``python -m vfio_compliance.cli.costs RUN...`` renews the table from which a dry run estimates the cost of a run.

RUN is a run of profiles/reference.yaml. Several runs with different rules may be given; other rules keep their values.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..results import costs
from .checkout import summary_of

if __name__ == "__main__":
    known = costs.table() if costs.TABLE.exists() else {}
    for folder in sys.argv[1:]:
        known |= costs.measured(summary_of(Path(folder)))
    lines = (f"  {json.dumps(rule)}: {json.dumps(known[rule])}" for rule in sorted(known))
    costs.TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
