#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Judges the device of a profile as a kselftest: only KTAP on stdout; exit code 0 pass, 1 fail, 4 skip.

migration_rules.py [PROFILE] [OPTION OF `vfio-compliance run`]...; without PROFILE the variable VFIO_PROFILE names it.
All other output goes to stderr, each line as a KTAP comment, since the kernel's runner mixes the two.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

PASS, FAIL, SKIP = 0, 1, 4
TOOLS = Path(__file__).resolve().parents[2]


def skip(why: str) -> NoReturn:
    """Ends the test: it says nothing about a driver."""
    print(f"KTAP version 1\n1..0 # SKIP {' '.join(why.split())}")
    sys.exit(SKIP)


try:
    sys.path.insert(0, str(TOOLS))
    from vfio_compliance import profiles
    from vfio_compliance.profiles.device import KernelGroupDevice
    from vfio_compliance.sections import PROFILE
    from vfio_compliance.transport.errors import SetupError
    from vfio_compliance.transport.host import Host
except ImportError as error:
    skip(f"vfio-compliance is not installed for {sys.executable}: {error}")


def main(words: list[str]) -> int:
    """Exit code of the test."""
    named = words.pop(0) if words and not words[0].startswith("-") else os.environ.get("VFIO_PROFILE", "")
    if not named:
        skip("no profile: name one in VFIO_PROFILE, or as the first argument")
    try:
        device = profiles.load(Path(named), PROFILE).device
    except profiles.ProfileError as error:
        skip(f"the profile cannot be used: {error}")
    if isinstance(device, KernelGroupDevice) and (why := absent(device)):
        skip(why)
    with tempfile.TemporaryDirectory(prefix="vfio-") as folder:
        report = Path(folder, "report.ktap")
        code = judged(["run", named, *words, "--report", f"ktap={report}"])
        text = report.read_text(encoding="utf-8") if report.exists() else ""
    if not text:
        print("KTAP version 1\n1..1\nnot ok 1 vfio-compliance # ERROR there is no report; stderr says why")
        return FAIL
    print(text.rstrip("\n"))
    # An incomplete run, or one in which a call hung, is neither a pass nor a skip.
    return {0: PASS, 4: SKIP}.get(code, FAIL)


def absent(device: KernelGroupDevice) -> str:
    """Why this user cannot have the device, or nothing."""
    host = Host(Path("/"))
    try:
        files = [host.container, host.group_file(host.group_of(device.sysfs) if device.group is None else device.group)]
    except SetupError as error:
        return str(error)
    for file in files:
        if not file.exists():
            return f"there is no {file}: the kernel has no VFIO, or the device has no VFIO driver"
        if not os.access(file, os.R_OK | os.W_OK):
            return f"{file} cannot be opened by this user"
    return ""


def judged(words: list[str]) -> int:
    """Exit code of the program; a signal that ends this test ends the run, which still writes its report."""
    path = os.pathsep.join(filter(None, [str(TOOLS), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, "-m", "vfio_compliance", *words],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
    ) as run:
        signal.signal(signal.SIGTERM, lambda *_: run.terminate())
        signal.signal(signal.SIGINT, lambda *_: None)  # a terminal sends it to the run, too
        assert run.stdout
        for line in run.stdout:
            print(f"# {line.rstrip()}", file=sys.stderr, flush=True)
    return run.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
