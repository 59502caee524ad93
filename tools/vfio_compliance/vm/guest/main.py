# SPDX-License-Identifier: GPL-2.0-only
"""What happens in a guest, from its start to its end; a JSON file of the host says what to do."""

import json
import os
import time
from pathlib import Path
from typing import Any

from . import devices, kernel, programs
from .modules import Loader, Own
from .reporting import report
from .root import enter_cached

#: Where the present call is noted for the host.
INFLIGHT = "VFIO_COMPLIANCE_INFLIGHT"


def main(plan_file: str) -> int:
    """Carries out a plan. Returns 0 whatever the commands returned: their exit codes are reported."""
    plan = json.loads(Path(plan_file).read_text())
    os.environ.update(plan["environment"])
    report("up", release=os.uname().release)
    complaint = enter_cached(plan["keep"])
    if complaint:
        report("note", text=f"the host's files are not cached, which is slow: {complaint}")
    log = kernel.Log()
    complaint = _set_up(plan)
    if complaint:
        report("broken", text=complaint)
    if page := devices.shared_memory():
        os.environ[INFLIGHT] = page
    report("ready", monotonic=time.monotonic())
    report("log", **log.since())
    if not complaint:
        for index, command in enumerate(plan["commands"]):
            report("start", index=index)
            code = programs.run(command, plan["cwd"])
            report("log", **log.since())
            report("end", index=index, exit=code)
    try:
        Path(plan["dmesg"]).write_text("".join(f"{line}\n" for _, line in kernel.records()))
    except OSError as error:
        report("note", text=f"the kernel's log is not kept: {error.strerror}")
    report("over")
    return 0


def _set_up(plan: dict[str, Any]) -> str:
    """Loads what is to be judged and prepares its devices; returns a complaint, or nothing."""
    loader = Loader({own["name"]: Own(**own) for own in plan["own"]}, os.uname().release)
    for name in loader.own:
        if complaint := loader.load(name):
            return complaint
    for name in plan["modprobe"]:
        if complaint := loader.load(name):
            report("note", text=complaint)
    for address in plan["pci"]:
        if complaint := devices.give_to_vfio(address):
            report("note", text=complaint)
    if plan["reference"] and (complaint := devices.load_reference(plan["reference"])):
        return complaint
    for command in plan["setup"]:
        if complaint := programs.do(["sh", "-c", command], plan["cwd"]):
            return f"the setup command failed: {command}\n{complaint}"
    return ""
