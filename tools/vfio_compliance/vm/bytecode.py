# SPDX-License-Identifier: GPL-2.0-only
"""Python's compiled files. The guest uses those next to the sources: compiling them takes it most of a minute."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from vfio_compliance.common import processes
from vfio_compliance.common.project import INSTALLED, PACKAGE, PROJECT

#: All of a checkout's package (an installation is compiled already), and the suites as pytest compiles them.
_PROGRAM = """
import compileall, sys
from vfio_compliance.cli.main import main
for folder in sys.argv[1:]:
    compileall.compile_dir(folder, quiet=2)
main(["run", "--dry-run", "refdriver-kernel"])
"""
#: Variables that would put them somewhere else, or nowhere.
_ELSEWHERE = ("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")
_LONGEST = 120.0
_GRACE = 2.0


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Compile in the background while the block runs, and wait for it at the end. A failure does not matter."""
    command = [sys.executable, "-c", _PROGRAM, *([] if INSTALLED else [str(PACKAGE.parent)])]
    environment = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    silent = subprocess.DEVNULL
    process = processes.start(command, stdout=silent, stderr=silent, env=environment, cwd=PROJECT)
    try:
        yield
        processes.await_exit(process, _LONGEST)
    finally:
        processes.end(process, _GRACE, _GRACE)
