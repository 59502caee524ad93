# SPDX-License-Identifier: GPL-2.0-only
"""Harmful Python files beside a profile: rules that depend on them are not judged, all others are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_compliance import profiles
from vfio_compliance.results import summary
from vfio_compliance.sections import PROFILE

WORK = "    return device.read(REGISTERS, WORK, 8)\n"

IGNORES = """\
    import signal
    for number in set(signal.valid_signals()) - {9, 19, 32, 33}:
        signal.signal(number, signal.SIG_IGN)
"""

#: What the function does instead, and words of the message.
BAD = {
    "raises": ("    return 1 // 0\n", "ZeroDivisionError"),
    "raises what no `except Exception` takes": ("    raise SystemExit(0)\n", "SystemExit"),
    "loops over reads": ("    while True:\n        device.read(REGISTERS, WORK, 8)\n", "did not end within 1 s"),
    "loops over nothing": ("    while True:\n        pass\n", "did not end within 1 s"),
    "sleeps": ("    import time\n    time.sleep(1000)\n", "did not end within 1 s"),
    "ends the process": ("    import os\n    os._exit(0)\n", "ended its process"),
    "kills its parent": (
        "    import os\n    os.kill(os.getppid(), 9)\n    import time\n    time.sleep(1000)\n",
        "ended its process",
    ),
    "ignores all signals and loops": (IGNORES + "    while True:\n        pass\n", "did not end within 1 s"),
    "returns an object": ("    return object()\n", "object"),
    "returns two": ("    return 1, 2\n", "gives 2 values"),
    "returns nothing": ("    pass\n", "gives 0 values"),
    "passes a wrong region": ("    return device.read('BAR', 8, 8)\n", "`region` must be an integer"),
    "closes all descriptors": ("    import os\n    os.closerange(0, 1 << 16)\n    return 1 // 0\n", "python.py"),
    "takes all memory": ("    return len(bytearray(1 << 40))\n", "memory"),
}


@pytest.fixture
def bad(tmp_path: Path, project: Path) -> Callable[..., Path]:
    """A profile whose function work_done does something else."""

    def put(instead: str) -> Path:
        for name in ("python.yaml", "python.py"):
            shutil.copy(project / "profiles/examples" / name, tmp_path)
        script = tmp_path / "python.py"
        assert WORK in script.read_text()
        script.write_text(script.read_text().replace(WORK, instead))
        profile = tmp_path / "python.yaml"
        profile.write_text(profile.read_text().replace("within: 5s", "within: 1s"))
        return profile

    return put


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_breaks_only_the_rules_that_depend_on_it(
    bad: Callable[..., Path], judge_in_process: Callable[..., summary.Summary], tmp_path: Path, kind: str
) -> None:
    """Their verdict is `broken`, which does not blame the device, and names the file; the other rules are judged."""
    instead, words = BAD[kind]
    result = judge_in_process(bad(instead), tmp_path, "--only=v1.state.running-bit", "--only=v1.reserved.reads-zero")
    found = {case.id: case for case in result.cases.values()}
    assert {(case.rule, case.verdict.value) for case in found.values()} == {
        ("v1.reserved.reads-zero", "pass"),
        ("v1.state.running-bit", "broken"),
    }
    messages = [case.failure.what for case in found.values() if case.failure]
    assert words in messages[0]
    assert "python." in messages[0]
    assert "has failed 3 times" in messages[-1] or "gives" in words


@pytest.mark.parametrize(
    ("instead", "complaint"),
    [
        ("    return (\n", r"python\.py:18:12: Python syntax"),
        (WORK + "\n\nasync def work_done(device):\n" + WORK, r"defined a second time"),
    ],
)
def test_a_function_that_no_step_can_call_is_found_without_running_it(
    bad: Callable[..., Path], instead: str, complaint: str
) -> None:
    with pytest.raises(profiles.ProfileError, match=complaint):
        profiles.load(bad(instead), PROFILE)


def test_a_profile_loads_if_only_running_its_file_shows_the_mistake(bad: Callable[..., Path]) -> None:
    assert profiles.load(bad(WORK + "\n\ndel work_done\nwork_done = None\n"), PROFILE)
