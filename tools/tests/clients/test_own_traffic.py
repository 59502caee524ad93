# SPDX-License-Identifier: GPL-2.0-only
"""The suite as a client: its runs are judged, with and without a proxy, and so is a client that breaks each clause."""

from __future__ import annotations

import contextlib
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
import yaml

from vfio_compliance import rules as spec
from vfio_compliance.clients import sources
from vfio_compliance.clients.command import judge_files
from vfio_compliance.clients.trace import Reader, TraceError
from vfio_compliance.clients.verdict import judge
from vfio_compliance.device import Device, DeviceError
from vfio_compliance.interfaces import CLAUSES
from vfio_compliance.migration_v1.client import Judge
from vfio_compliance.migration_v1.interface import MigrationV1
from vfio_compliance.migration_v1.region import REGION_TYPE, MigrationRegion
from vfio_compliance.results import journal
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary
from vfio_compliance.transport import VfioUser, VfioUserSettings
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DATA_SIZE, DEVICE_STATE, PENDING_BYTES, DeviceState

#: Whole runs, some through the recorder: each takes a minute on a busy machine.
pytestmark = pytest.mark.timeout(600)

RUNNING, STOP, RESUMING = DeviceState.RUNNING, DeviceState.STOP, DeviceState.RESUMING
STOP_AND_COPY = DeviceState.STOP_AND_COPY

DEADLINE = 30.0

#: Clauses on which a trace and a journal differ. A journal has no digest of most data, and each of its cases is judged
#: separately: without the reset before the next case, and without a mapping that an earlier case made, through which a
#: buffer may have been read unseen.
DIFFERENT = {"DS-07", "RSM-05", "RSM-06", "RSM-07"}


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    code: int

    @property
    def result(self) -> Summary:
        """The summary of its journal."""
        return summarise(journal.read(self.folder / journal.NAME))


class Proxied:
    """A reference server behind the recorder, each in its own process."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.socket, self.trace = str(folder / "a"), folder / "trace"
        self._command = [sys.executable, "-m", "vfio_compliance", "proxy", "--listen", self.socket]
        self._command += ["--connect", str(folder / "b"), "--trace", str(self.trace), *options]
        server = [sys.executable, "-m", "refdriver", f"--socket-path={folder / 'b'}"]
        self._server = subprocess.Popen(server)
        self.process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr
        readable, _, _ = select.select([self.process.stderr], [], [], DEADLINE)
        assert readable
        assert "listening on" in self.process.stderr.readline()
        end = time.monotonic() + DEADLINE
        while not (folder / "b").exists() and time.monotonic() < end:
            select.select([], [], [], 0.002)

    def end(self, number: Signals = signal.SIGTERM) -> tuple[int, str]:
        """Ends the recorder by a signal; its exit code and its output."""
        self.process.send_signal(number)
        _, output = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, output

    def __enter__(self) -> Proxied:
        return self

    def __exit__(self, *_: None) -> None:
        for process in (self.process, self._server):
            process.kill()
            process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


def run(project: Path, profile: str | Path, folder: Path) -> Run:
    """A run as a user starts it."""
    command = [sys.executable, "-m", "vfio_compliance", "run", str(profile), "--out", str(folder)]
    ended = subprocess.run(command, cwd=project, stdout=subprocess.DEVNULL, timeout=600, check=False)
    return Run(folder, ended.returncode)


@pytest.fixture(scope="module")
def direct(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of all rules on the reference device."""
    return run(project, "profiles/reference.yaml", tmp_path_factory.mktemp("direct") / "out")


@pytest.fixture(scope="module")
def proxied(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """The same run through a proxy, and its trace."""
    folder = tmp_path_factory.mktemp("p")
    document = yaml.safe_load((project / "profiles/reference.yaml").read_text())
    document["device"] = {"transport": "vfio-user", "socket": str(folder / "a")}
    (folder / "profile.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    with Proxied(folder) as between:
        through = run(project, folder / "profile.yaml", folder / "out")
        assert between.end() == (0, "")
    return through, between.trace


def test_own_run_is_clean(direct: Run) -> None:
    """The suite breaks no clause, unless a rule says that its test does so on purpose."""
    result = judge(sources.load(direct.folder))
    assert result.found == []
    assert result.exit_code == 0
    assert all(result.kept[clause] for clause in CLAUSES)


def test_provoked_clauses_are_declared(direct: Run, project: Path) -> None:
    """The clauses that a test breaks are exactly those that its rule declares."""
    rules = {case.id: case.rule for case in direct.result.cases.values()}
    provoked: dict[str, set[str]] = {}
    source = sources.load(direct.folder)
    for part in source.parts:
        judged = judge(replace(source, parts=iter([replace(part, provokes=())])))
        provoked.setdefault(rules[part.case], set()).update(+judged.broken)
    declared = {rule.id: set(rule.provokes) for rule in spec.load(project / "suites")}
    assert {rule: clauses for rule, clauses in provoked.items() if clauses} == {
        rule: clauses for rule, clauses in declared.items() if clauses
    }


def test_a_proxy_does_not_change_the_verdicts(direct: Run, proxied: tuple[Run, Path]) -> None:
    """Each rule has the same one as in a direct run."""
    through, _ = proxied
    assert (through.code, direct.code) == (0, 0)
    assert through.result.verdicts == direct.result.verdicts


def test_the_trace_is_complete(proxied: tuple[Run, Path]) -> None:
    """It has every access of the run, in order, with the same result and the same data."""
    through, trace = proxied
    made: list[tuple[Any, ...]] = []
    for part in sources.load(through.folder).parts:
        for _, entries in groupby(part.entries, key=lambda entry: entry.number):
            entry = next(entries)
            call = entry.call
            assert call is not None
            if call.verb in ("read", "write"):
                place = (call.verb, call.target, call.number, call.length, call.value, call.errno)
                data, digest = call.moved
                made += [(*place, digest or data.hex())] * call.times
            elif call.verb == "ioctl" and entry.access and entry.access.verb == "reset":
                made += [("reset", "", 0, 0, call.value, call.errno, "")] * call.times
    recorded = []
    for record in Reader(trace):
        if record.verb in ("read", "write"):
            target = f"region {record.region}"
            place = (record.verb, target, record.offset, record.length, record.value, record.errno)
            recorded.append((*place, record.data.hex() or record.sha256))
        elif record.verb == "reset":
            recorded.append(("reset", "", 0, 0, record.value, record.errno, ""))
    del recorded[: -len(made)]  # accesses before the first case belong to no case
    assert [access[:6] for access in recorded] == [access[:6] for access in made]
    for seen, own in zip(recorded, made, strict=True):
        assert seen[6] == own[6] or (seen[4] > 64 and len(seen[6]) == 64) or own[4] < 0


def test_trace_and_journal_are_judged_alike(proxied: tuple[Run, Path]) -> None:
    """With the run given, a judge finds the same in the trace as in the journal, and no offence."""
    through, trace = proxied
    own, seen = judge(sources.load(through.folder)), judge_files(trace, run=through.folder)
    assert (seen.damage, seen.found, seen.exit_code) == ("", [], 0)
    # Some of the kernel's structures, if cut short, have no message; and a buffer whose data was not seen may have been
    # written through a mapping, which no proxy sees.
    of_region = MigrationV1.judge.clauses.keys()
    assert {clause: seen.provoked[clause] for clause in of_region - {"FLD-06"}} == {
        clause: own.provoked[clause] for clause in of_region - {"FLD-06"}
    }
    assert {clause: seen.kept[clause] for clause in of_region - DIFFERENT} == {
        clause: own.kept[clause] for clause in of_region - DIFFERENT
    }
    assert all(seen.kept[clause] and own.kept[clause] for clause in CLAUSES)


def test_the_trace_alone(proxied: tuple[Run, Path]) -> None:
    """Without the run, the judge does not know which offences are on purpose: the client breaks clauses."""
    _, trace = proxied
    assert judge_files(trace).exit_code == 1


def test_a_run_of_another_trace_is_refused(proxied: tuple[Run, Path], tmp_path: Path) -> None:
    """Wherever they differ."""
    through, trace = proxied
    lines = trace.read_text().splitlines(keepends=True)
    (tmp_path / "short").write_text("".join([*lines[: len(lines) // 2], lines[-1]]))
    with pytest.raises(TraceError, match="is not the run of this trace"):
        judge_files(tmp_path / "short", run=through.folder)
    at = next(at for at, line in enumerate(lines) if at > len(lines) // 2 and '"verb":"read"' in line)
    lines[at] = lines[at].replace('"verb":"read"', '"verb":"write"')
    (tmp_path / "edited").write_text("".join(lines))
    result = judge_files(tmp_path / "edited", run=through.folder)
    assert "is not the run of this trace" in result.damage
    assert result.exit_code in (1, 2)


# -- a client driven by hand ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Device]:
    """A reference server and a client of it."""
    transport = VfioUser(
        VfioUserSettings(None, ("{python}", "-m", "refdriver", "--socket-path={socket}"), DEADLINE, DEADLINE)
    )
    device = Device(transport)
    device.open()
    yield device
    transport.shutdown()


@pytest.fixture
def migration(server: Device) -> MigrationRegion:
    """The migration region of that device, after a reset; the trace begins here, with digests."""
    server.reset()
    region = MigrationRegion(server.regions_of_type(REGION_TYPE)[0], 1 << 30)
    server.transport.tracer.forget()
    server.reset()
    return region


def save(migration: MigrationRegion) -> list[bytes]:
    """The buffers of a saved state."""
    migration.enter(STOP_AND_COPY)
    stream = migration.save()
    return [stream.data(buffer) for buffer in stream.buffers]


def restore(server: Device, migration: MigrationRegion, buffers: Sequence[bytes]) -> None:
    """Restores these buffers, and sets the device running."""
    server.reset()
    migration.enter(RESUMING)
    for buffer in buffers:
        migration.load_buffer(len(buffer), [buffer])
    migration.enter(RUNNING)


def writes_after_failure(server: Device, migration: MigrationRegion) -> None:
    migration.state()
    migration.try_write(DEVICE_STATE, DeviceState.INVALID_5)
    migration.read(PENDING_BYTES)


def writes_in_error(server: Device, migration: MigrationRegion) -> None:
    server.region(0).write(0x40, 4, 1)
    migration.try_set_state(STOP)
    migration.try_set_state(RUNNING)


def writes_without_reading(server: Device, migration: MigrationRegion) -> None:
    migration.write(DEVICE_STATE, STOP)


def resumes_from_stop(server: Device, migration: MigrationRegion) -> None:
    migration.enter(STOP, RESUMING)


def reads_past_the_buffer(server: Device, migration: MigrationRegion) -> None:
    migration.enter(STOP_AND_COPY)
    migration.read(PENDING_BYTES)
    area = migration.place()
    migration.region.read_bytes(area.offset - 8, 8)


def forgets_the_size(server: Device, migration: MigrationRegion) -> None:
    migration.enter(RESUMING)
    migration.region.write_bytes(migration.read(DATA_OFFSET), bytes(16))
    migration.try_set_state(RUNNING)


def iterates_at_zero(server: Device, migration: MigrationRegion) -> None:
    save(migration)
    migration.read(DATA_OFFSET)


def reads_size_first(server: Device, migration: MigrationRegion) -> None:
    migration.enter(STOP_AND_COPY)
    migration.read(PENDING_BYTES)
    migration.read(DATA_SIZE)
    migration.read(DATA_OFFSET)


def leaves_data_behind(server: Device, migration: MigrationRegion) -> None:
    migration.enter(STOP_AND_COPY)
    migration.read(PENDING_BYTES)
    migration.enter(STOP)


def continues_after_an_error(server: Device, migration: MigrationRegion) -> None:
    migration.enter(STOP_AND_COPY)
    migration.read(PENDING_BYTES)
    area = migration.place()
    migration.region.try_read(area.offset, migration.region.size)
    migration.read(PENDING_BYTES)


def swaps_buffers(server: Device, migration: MigrationRegion) -> None:
    first, second, *rest = save(migration)
    restore(server, migration, [second, first, *rest])


def splits_a_buffer(server: Device, migration: MigrationRegion) -> None:
    first, *rest = save(migration)
    restore(server, migration, [first[:100], first[100:], *rest])


def changes_a_byte(server: Device, migration: MigrationRegion) -> None:
    first, *rest = save(migration)
    restore(server, migration, [bytes([first[0] ^ 1]) + first[1:], *rest])


BREAKERS = {
    "DS-04": writes_after_failure,
    "DS-07": writes_in_error,
    "DS-15": writes_without_reading,
    "TR-04a": resumes_from_stop,
    "FLD-04": reads_past_the_buffer,
    "FLD-06": forgets_the_size,
    "SAV-02": iterates_at_zero,
    "SAV-11": reads_size_first,
    "SAV-13": leaves_data_behind,
    "ERR-02": continues_after_an_error,
    "RSM-05": swaps_buffers,
    "RSM-06": splits_a_buffer,
    "RSM-07": changes_a_byte,
}


def judged(server: Device, migration: MigrationRegion) -> Judge:
    """The judge of all accesses since the test began."""
    judge = Judge()
    for access in migration.accesses(server.transport.tracer.calls):
        judge.take(access)
    server.transport.tracer.forget()
    judge.end()
    return judge


@pytest.mark.parametrize("clause", MigrationV1.judge.clauses)
def test_a_client_that_breaks_a_clause_is_caught(server: Device, migration: MigrationRegion, clause: str) -> None:
    """On a real server; one that migrates properly breaks none."""
    with contextlib.suppress(DeviceError):  # the server may notice as well
        BREAKERS[clause](server, migration)
    judge = judged(server, migration)
    assert judge.broken[clause] == 1
    server.reset()
    restore(server, migration, save(migration))
    assert set(judged(server, migration).broken.values()) == {0}


# -- the recorder as a program ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_ended_by_a_signal(tmp_path: Path, number: Signals) -> None:
    """While a client is connected: exit code 0, the trace has its end, the socket is removed."""
    with Proxied(tmp_path) as between:
        device = Device(VfioUser(VfioUserSettings(between.socket, None, DEADLINE, DEADLINE)))
        device.open()
        MigrationRegion(device.regions_of_type(REGION_TYPE)[0], 1 << 30).state()
        assert between.end(number) == (0, "")
        device.close()
    verbs = [record.verb for record in Reader(between.trace)]
    assert verbs[-3:] == ["read", "close", "end"]
    assert not Path(between.socket).exists()


def test_once(tmp_path: Path) -> None:
    """With --once, the recorder ends when the first client has left."""
    with Proxied(tmp_path, "--once") as between:
        device = Device(VfioUser(VfioUserSettings(between.socket, None, DEADLINE, DEADLINE)))
        device.open()
        device.close()
        assert between.process.wait(DEADLINE) == 0
    assert [record.verb for record in Reader(between.trace)][-2:] == ["close", "end"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--trace", "{here}/there"], "exists already"),
        (["--trace", "{here}/no/such/folder"], "No such file"),
        (["--trace", "{here}/new", "--listen", "{here}/there"], "is not a socket"),
        (["--trace", "{here}/new", "--listen", "{here}/no/such/a"], "cannot listen on"),
        (["--trace", "{here}/new", "--listen", "{here}/" + "x" * 200], "takes at most 107"),
    ],
    ids=["trace", "folder", "file", "no folder", "long"],
)
def test_files_that_cannot_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: Sequence[str], complaint: str
) -> None:
    """A trace or a socket: exit code 2, one line, and nothing is changed."""
    from vfio_compliance.cli.main import main

    (tmp_path / "there").write_text("mine")
    options = ["--listen", f"{tmp_path}/a", "--connect", f"{tmp_path}/b"]
    assert main(["proxy", *options, *(word.replace("{here}", str(tmp_path)) for word in words)]) == 2
    errors = capsys.readouterr().err
    assert complaint in errors
    assert len(errors.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
    assert (tmp_path / "there").read_text() == "mine"
