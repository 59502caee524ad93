# SPDX-License-Identifier: GPL-2.0-only
"""The guest's reports to the host, on its standard output, between the output of the commands."""

import json
import sys
from typing import Any

#: The beginning of a line that is a report.
MARK = "\x1evm "


def report(event: str, **facts: Any) -> None:
    """Reports to the host."""
    sys.stdout.write(f"{MARK}{json.dumps({'event': event, **facts})}\n")
    sys.stdout.flush()
