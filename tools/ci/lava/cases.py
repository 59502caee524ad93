#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Reports each rule of a run to LAVA as a test case: `cases.py RUN`, on a machine with `lava-test-case`.

Exit code: 0, or 2 where the run cannot be read or LAVA does not take a case.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from vfio_compliance.bundle.opening import opened
from vfio_compliance.results.journal import JournalError
from vfio_compliance.results.writers import render

#: The names of results in KCIDB and in LAVA. A rule that was not judged is neither a pass nor a skip.
_RESULT = {"PASS": "pass", "FAIL": "fail", "SKIP": "skip", "DONE": "skip", "ERROR": "unknown", "MISS": "unknown"}


def main(place: Path) -> int:
    """Exit code of the program."""
    try:
        tests = json.loads(render("kcidb", opened(place)))["tests"]
        seen: Counter[str] = Counter()
        for test in tests:
            path = test["path"]
            seen[path] += 1  # everything that happened outside the rules has one path, however often
            name = path if seen[path] == 1 else f"{path}-{seen[path]}"
            subprocess.run(["lava-test-case", name, "--result", _RESULT[test["status"]]], check=True)
    except (JournalError, OSError, subprocess.CalledProcessError) as error:
        print(f"cases.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
