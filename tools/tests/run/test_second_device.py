# SPDX-License-Identifier: GPL-2.0-only
"""If the profile names a second device, states are restored on it, and it is judged."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance.migration_v1.region import MigrationRegion
from vfio_compliance.results import summary
from vfio_compliance.results.calls import describe
from vfio_compliance.results.registers import registers_of
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import EXIT_BROKEN, Verdict
from vfio_compliance.results.writers import terminal
from vfio_compliance.transport import Outcome
from vfio_compliance.transport.vfio_user.process import ServerProcess
from vfio_compliance.uapi.migration_v1 import DeviceState

RESTORES = "suites/migration_v1/test_resume.py::test_data_is_used[once]"
LOST_BUFFERS = "suites/migration_v1/test_resume.py::test_every_buffer_counts"
SERVER = ("{python}", "-m", "refdriver", "--socket-path={socket}")


@pytest.fixture
def judge_two(
    document: Any,
    save_profile: Callable[[Any], Path],
    tmp_path: Path,
    judge_in_process: Callable[..., summary.Summary],
) -> Iterator[Callable[..., Summary]]:
    """Judges with a good server as the first device and one with the given options, if any, as the second."""
    servers = []

    def judge(options: tuple[str, ...] | None, *cases: str) -> Summary:
        paths = [str(tmp_path / "first"), str(tmp_path / "second")]
        servers.append(ServerProcess(SERVER, paths[0]))
        if options is not None:
            servers.append(ServerProcess((*SERVER, *options), paths[1]))
        for server in servers:
            server.connect(30).close()
        document["device"] = {"transport": "vfio-user", "socket": paths[0], "second": {"socket": paths[1]}}
        document["limits"]["call"] = "1s"
        return judge_in_process(save_profile(document), tmp_path, *cases)

    yield judge
    for server in servers:
        server.stop()


def stop_of(result: Summary) -> tuple[str, str]:
    """The reason and the remedy, if nothing could be judged."""
    assert result.exit_code == EXIT_BROKEN
    assert [case.verdict for case in result.cases.values()] == [Verdict.BROKEN]
    (stop,) = result.stops
    return stop.message, stop.remedy


def test_both_devices_are_used(judge_two: Callable[..., Summary], tmp_path: Path) -> None:
    """The state moves from one to the other; totals have the calls of both, and the report names the second device."""
    result = judge_two((), RESTORES)
    assert result.verdicts == {"v1.resuming.data-is-used": Verdict.PASS}
    targets = {call.target for case in result.cases.values() for call in case.calls}
    assert {"device", "region 9", "second device", "second region 9"} <= targets
    assert result.totals["opens"] == 2
    text = terminal.render(result)
    assert f"restored on       {tmp_path / 'second'}" in text


@pytest.mark.parametrize("defect", ["resuming-data-ignored", "resume-last-buffer-only", "resume-drops-a-buffer"])
def test_a_defect_of_the_second_device_is_caught(judge_two: Callable[..., Summary], defect: str) -> None:
    """The first device is good."""
    result = judge_two((f"--defect={defect}",), RESTORES, LOST_BUFFERS)
    assert result.verdicts == dict.fromkeys(
        ["v1.resuming.data-is-used", "v1.resuming.every-buffer-counts"], Verdict.FAIL
    )
    registers = registers_of(result.target.regions)
    calls = [call for case in result.cases.values() for call in case.calls]
    described = {describe(call, registers).partition(" -> ")[0] for call in calls}
    assert {"open second device", "read device_state", "close second device"} <= described
    assert "read second device's device_state" in described


def test_a_single_different_byte_is_caught(judge_two: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the memory of the restored device."""
    try_set_state = MigrationRegion.try_set_state

    def spoil(region: MigrationRegion, state: int) -> Outcome:
        outcome = try_set_state(region, state)
        if state == DeviceState.RUNNING:
            assert region.region._transport.write(2, 0x8003, b"\x01").ok
        return outcome

    monkeypatch.setattr(MigrationRegion, "try_set_state", spoil)
    result = judge_two((), RESTORES)
    assert result.verdicts == {"v1.resuming.data-is-used": Verdict.FAIL}


def test_a_device_of_another_kind(judge_two: Callable[..., Summary], tmp_path: Path) -> None:
    """It is refused, as it would not be judged fairly."""
    message, remedy = stop_of(judge_two(("--memory=131072",), RESTORES))
    assert f"{tmp_path / 'profile.yaml'}:" in message
    assert "the second device is of another kind: its region 2 has 131072 bytes, not 65536" in message
    assert remedy == "name a device of the same kind"


def test_no_second_device(judge_two: Callable[..., Summary], tmp_path: Path) -> None:
    """No server listens at its socket."""
    message, remedy = stop_of(judge_two(None, RESTORES))
    assert f"{tmp_path / 'profile.yaml'}:" in message
    assert f"the second device cannot be opened: cannot connect to {tmp_path / 'second'}: No such file" in message
    assert "correct device.second.socket in the profile" in remedy


def test_a_second_device_that_is_busy(judge_two: Callable[..., Summary], tmp_path: Path) -> None:
    """Its server has another client."""
    with socket.socket(socket.AF_UNIX) as client, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "second"))
        listener.listen()
        client.connect(str(tmp_path / "second"))
        message, _ = stop_of(judge_two(None, RESTORES))
    assert "the second device cannot be opened: VERSION: no answer within 1 s" in message
