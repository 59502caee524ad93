# SPDX-License-Identifier: GPL-2.0-only
"""The lines that no self-test reaches, from the data of all processes that `tox run -e coverage` has measured.

    python tools/tests/reached.py FOLDER

Tests kill processes at any moment, also while these write their data: what cannot be read is left out, and counted.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from coverage import Coverage, CoverageData
from coverage.exceptions import CoverageException


def lines_of(path: Path) -> dict[str, list[int]]:
    """The lines that a process has run, by file; none if its data cannot be read."""
    data = CoverageData(str(path))
    try:
        data.read()
        return {file: data.lines(file) or [] for file in data.measured_files() if file}
    except CoverageException:
        return {}


def main(folder: Path) -> None:
    """Print the report."""
    lines: defaultdict[str, set[int]] = defaultdict(set)
    unread = 0
    files = sorted(folder.iterdir())
    for path in files:
        found = lines_of(path)
        unread += not found
        for file, numbers in found.items():
            lines[file].update(numbers)
    measured = Coverage(data_file=None)
    measured.get_data().add_lines(lines)
    print(f"{len(files)} processes, {unread} of them without readable data")
    measured.report(show_missing=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
