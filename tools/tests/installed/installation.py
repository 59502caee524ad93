# SPDX-License-Identifier: GPL-2.0-only
"""The project, built and installed into a folder of its own, without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: Variables that would make Python look elsewhere, or keep it from compiling.
_ELSEWHERE = ("PYTHON", "PYTEST_", "VFIO_", "XDG_")


def clean(home: Path) -> dict[str, str]:
    """An environment without any trace of the checkout, with its own home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_ELSEWHERE)}
    return {**kept, "HOME": str(home), "COLUMNS": "200"}


def build(source: Path, target: str, folder: Path) -> Path:
    """The sdist or wheel that hatchling makes of a tree."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    environment = {**clean(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True)
    (made,) = folder.glob("*.tar.gz" if target == "sdist" else "*.whl")
    return made


def unpack(archive: Path, folder: Path) -> Path:
    """The tree in an archive of the source."""
    folder.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
    (tree,) = folder.iterdir()
    return tree


@dataclass(frozen=True)
class Installation:
    """A virtual environment with the wheel; the wheel's requirements are those of the tests' environment."""

    folder: Path
    home: Path

    @property
    def site(self) -> Path:
        """The folder of the packages."""
        return next(self.folder.glob("lib/python*/site-packages"))

    def install(self, wheel: Path) -> None:
        """Make the environment, and install the wheel."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.folder], check=True)
        # A folder that a .pth file names is searched, but .pth files in it, such as the checkout's, are not read.
        needs = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        (self.site / "needs.pth").write_text("".join(f"{path}\n" for path in needs))
        command = [sys.executable, "-m", "pip", "--python", str(self.folder / "bin" / "python"), "install"]
        # Older versions of pip find the checkout in the same way, and would install that.
        command += ["--ignore-installed", "--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
        command.append(str(wheel))
        subprocess.run(command, env=clean(self.home), check=True, capture_output=True)

    def call(self, *words: str, cwd: Path, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command, which may not change anything in the installation."""
        before = self.state()
        program = self.folder / "bin" / "vfio-compliance"
        environment = clean(self.home) | dict(more or {})
        ended = subprocess.run([program, *words], cwd=cwd, env=environment, capture_output=True, text=True)
        assert self.state() == before
        return ended

    def state(self) -> dict[str, tuple[int, int]]:
        """Each file and folder, with its size and the time of its last change."""
        return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in self.folder.rglob("*")}
