# SPDX-License-Identifier: GPL-2.0-only
"""Python's compiled files. The guest uses those beside the sources: compiling them itself takes it most of a minute."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from vfio_compliance.common import processes
from vfio_compliance.vm.plan import PROJECT

#: All of the package, and the suites in the form that pytest gives them.
_PROGRAM = """
import compileall, sys
compileall.compile_dir(sys.argv[1], quiet=2)
from vfio_compliance.cli.main import main
main(["run", "--dry-run", sys.argv[2]])
"""
#: What would have them put somewhere else, or nowhere.
_ELSEWHERE = ("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")
_LONGEST = 120.0
_GRACE = 2.0


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Compile in the background while the block runs, and wait for it at the end. A failure does not matter."""
    command = [sys.executable, "-c", _PROGRAM, str(PROJECT / "tools"), str(PROJECT / "profiles/refdriver-kernel.yaml")]
    environment = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    silent = subprocess.DEVNULL
    process = processes.start(command, stdout=silent, stderr=silent, env=environment, cwd=PROJECT)
    try:
        yield
        processes.await_exit(process, _LONGEST)
    finally:
        processes.end(process, _GRACE, _GRACE)
