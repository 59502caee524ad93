# SPDX-License-Identifier: GPL-2.0-only
"""Files for tests of waivers, and the problems found in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vfio_compliance.profiles import ProfileError, waiver_files

#: A profile that is as small as one can be.
SMALL = """\
format: 1
name: small
interfaces: [migration_v1]
device: {transport: vfio-user, socket: /tmp/s}
"""


def written(folder: Path, text: str, name: str = "w.yaml") -> Path:
    """A file with this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def complaints(path: Path) -> list[str]:
    """The problems of a file of waivers, without its name."""
    with pytest.raises(ProfileError) as caught:
        waiver_files.load(path)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]
