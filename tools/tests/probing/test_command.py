# SPDX-License-Identifier: GPL-2.0-only
"""The profile that probe writes is valid, can be run at once, and names what it lacks; on an error, none is written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from absurd import AbsurdDevice
from scripted import ScriptedServer

from vfio_compliance import profiles, rules, sections
from vfio_compliance.cli.main import main
from vfio_compliance.dirty_type1.profile import DirtyClaims
from vfio_compliance.interfaces import INTERFACES
from vfio_compliance.migration_v1.profile import MigrationClaims
from vfio_compliance.probing import look as looking
from vfio_compliance.probing import target
from vfio_compliance.probing import text as writing
from vfio_compliance.probing.identity import Identity
from vfio_compliance.probing.look import Look
from vfio_compliance.profiles import KernelGroupDevice, ProfileError, VfioUserDevice, load
from vfio_compliance.results import summary
from vfio_compliance.results.inflight import Inflight
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.run.interface import Interface, Seen

REFERENCE = ("--", "{python}", "-m", "refdriver", "--socket-path={socket}")

#: Parts of hostile names, versions and paths.
HOSTILE = [
    "\x1b[31m",
    "a\nformat: 2",
    "# x: y",
    '"',
    "\\",
    "'",
    "{[&*!|>%@`",
    "\u2028",
    "\ud800",
    "é" * 300,
    "\x00",
    ": ",
]


@pytest.fixture(scope="module")
def catalogue(project: Path) -> rules.Catalogue:
    return rules.load(project / "suites")


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile that probe writes of the reference device."""
    path = tmp_path_factory.mktemp("probed") / "device.yaml"
    assert main(["probe", "--out", str(path), *REFERENCE]) == 0
    return path


@pytest.fixture
def absurd(tmp_path: Path) -> Iterator[ScriptedServer]:
    """A server that closes the connection in the middle."""
    server = ScriptedServer(tmp_path / "s", AbsurdDevice(ends={3: "leave"}))
    yield server
    server.stop()


def test_profile_has_only_what_was_seen(probed: Path) -> None:
    profile = load(probed, sections.PROFILE)
    assert profile.name == "refdriver"
    assert profile.interfaces == ("migration_v1", "dirty_type1")
    assert profile.description == "PCI device 1af4:10f1"
    migrates, tracks = profile.claims_of(MigrationClaims), profile.claims_of(DirtyClaims)
    assert (migrates.data_section, tracks.page_size) == ("mapped", 4096)
    assert (migrates.precopy_data, migrates.transitions) == (None, ())
    assert profile.stimulus.running is None
    assert isinstance(profile.device, VfioUserDevice)
    assert profile.device.command == REFERENCE[1:]


def test_profile_passes_check(probed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(probed)]) == 0
    assert capsys.readouterr().out.endswith(f"{probed}: ok\n")


def test_profile_can_be_run(probed: Path, judge_in_process: Callable[..., summary.Summary], tmp_path: Path) -> None:
    """Nothing fails; each rule that is not run names a key that the profile has as a comment."""
    summary = judge_in_process(probed, tmp_path, most=1)
    verdicts = {case.verdict for case in summary.cases.values()}
    assert verdicts == {Verdict.PASS, Verdict.NOT_APPLICABLE, Verdict.NOT_RUN}
    text = probed.read_text()
    wanted = {case.why.wants for case in summary.cases.values() if case.verdict is Verdict.NOT_RUN}
    assert wanted
    assert [key for key in wanted if f"  # {key.rpartition('.')[2]}:" not in text] == []


def test_profile_names_what_it_lacks(probed: Path, catalogue: rules.Catalogue) -> None:
    """The comment of each missing key has the rules that need it, and their number."""
    paragraphs = [" ".join(each.split()).replace(" # ", " ") for each in probed.read_text().split("\n\n")]
    keys = {key for rule in catalogue for key in rule.wants if re.fullmatch(r"(claims|stimulus)\.\w+", key)}
    for key in keys - {"claims.data_section"}:
        name = key.partition(".")[2]
        (comment,) = (each for each in paragraphs if re.search(rf"(?<![\w:]) {name}:", each))
        wanting = [each for each in catalogue.wanting(key) if not (each.of_the_suite or each.on_request)]
        assert re.search(rf"It lets {len(wanting)} rules? be judged", comment)
        assert [rule.id for rule in wanting if rule.id not in comment] == []


def test_a_blank_is_not_taken_for_a_value(probed: Path, tmp_path: Path) -> None:
    """A user who removes each # and fills nothing in gets an error for each key."""
    text = re.sub(r"(?m)^( *)# (?=(?:  )*(?:# |\w+:( \{\})?$|\{\}$))", r"\1", probed.read_text())
    assert "\nstimulus:\n" in text
    (tmp_path / "blank.yaml").write_text(text)
    with pytest.raises(ProfileError) as refused:
        load(tmp_path / "blank.yaml", sections.PROFILE)
    lines = {problem.text.strip() for problem in refused.value.problems}
    assert {"precopy_data:", "dirty_scope:", "sample:", "write:", "observe:", "save_fault:", "comes_within:"} <= lines


def test_the_claim_of_the_data_section_is_right(
    judge_in_process: Callable[..., summary.Summary], project: Path, tmp_path: Path
) -> None:
    """A run finds the same one, for each kind of driver."""
    for section in ("trapped", "mapped", "partitioned"):
        path = tmp_path / f"{section}.yaml"
        assert main(["probe", "--out", str(path), *REFERENCE, f"--data-section={section}"]) == 0
        case = "suites/migration_v1/test_region.py::test_section_as_claimed"
        (tmp_path / section).mkdir()
        summary = judge_in_process(path, tmp_path / section, str(project / case))
        assert [each.verdict for each in summary.cases.values()] == [Verdict.PASS]


def test_to_standard_output(probed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same text, and nothing else."""
    assert main(["probe", *REFERENCE]) == 0
    assert capsys.readouterr().out == probed.read_text()


def test_no_file_is_replaced(probed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --force; the device is not even opened."""
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    assert main(["probe", "--out", str(path), "/no/such/socket"]) == 2
    assert main(["probe", "--out", str(path), *REFERENCE]) == 2
    assert "exists already" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert main(["probe", "--out", str(path), "--force", *REFERENCE]) == 0
    assert path.read_text() == probed.read_text()
    assert os.listdir(tmp_path) == ["mine.yaml"]


@pytest.mark.parametrize("out", ["", ".", "none/there.yaml", "a" * 300])
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_file_that_cannot_be_created(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, force: Sequence[str]
) -> None:
    """No file is left."""
    monkeypatch.chdir(tmp_path)
    assert main(["probe", "--out", out, *force, *REFERENCE]) == 2
    assert "no profile is written" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_connection_lost_in_the_middle(
    absurd: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one clear line, and no file, not even a partial one."""
    assert main(["probe", str(tmp_path / "s"), "--out", str(tmp_path / "out.yaml")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("vfio-compliance: no profile is written: ")
    assert os.listdir(tmp_path) == ["s"]


def test_connection_lost_before_a_file_is_replaced(
    absurd: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --force, an older file stays as it was."""
    out = tmp_path / "out.yaml"
    out.write_text("mine")
    assert main(["probe", str(tmp_path / "s"), "--out", str(out), "--force"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("vfio-compliance: no profile is written: ")
    assert sorted(os.listdir(tmp_path)) == ["out.yaml", "s"]
    assert out.read_text() == "mine"


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """While it waits for a silent server; no file is left."""
    server = ScriptedServer(tmp_path / "s", silent := AbsurdDevice(ends={2: "be silent"}))
    command = [
        sys.executable,
        "-m",
        "vfio_compliance",
        "probe",
        str(tmp_path / "s"),
        "--out",
        str(tmp_path / "out.yaml"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while len(silent.asked) < 2 and process.poll() is None:
            pass
        process.send_signal(signal.SIGKILL)
    server.stop()
    assert process.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == ["s"]


def test_nothing_to_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A device without an interface that can be judged gets no profile."""
    server = ScriptedServer(tmp_path / "s", AbsurdDevice(capabilities=b""), b"\0\0\0\0{}\0")
    assert main(["probe", str(tmp_path / "s")]) == 2
    server.stop()
    assert "nothing to judge: the device shows none of the migration region (migration_v1)" in capsys.readouterr().err


def seen(**says: str) -> Look:
    return Look(
        ("", ""),
        says.get("device", "A device."),
        [says.get("region", "0")],
        {"dirty_type1": Seen({}, [says.get("interface", "x")])},
    )


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names(tmp_path: Path, catalogue: rules.Catalogue, text: str) -> None:
    """A driver, a list of names or a server cannot add keys to the profile by its name."""
    where = KernelGroupDevice(transport="kernel-group", name="0000:01:00.0", sysfs="/sys/bus/pci/devices/0000:01:00.0")
    known = Identity(("1234", "5678"), text, text, text, text, text, text)
    made = writing.text(
        where, known, seen(device=text, region=text, interface=text), sections.PROFILE, sections.SECTIONS, catalogue
    )
    assert all(each.isprintable() for each in made.split("\n"))
    path = tmp_path / "p.yaml"
    path.write_text(made, encoding="utf-8")
    profile = load(path, sections.PROFILE)
    assert (profile.name, profile.device, profile.interfaces) == ("0000-01-00.0", where, ("dirty_type1",))
    assert profile.vendor == profile.driver


def probe_server(path: Path, out: Path) -> int:
    """The exit code of a probe of a server that listens at this path."""
    server = ScriptedServer(path, AbsurdDevice())
    try:
        return main(["probe", str(path), "--out", str(out)])
    finally:
        server.stop()


@pytest.mark.parametrize("name", ["\x1b[31m", "a\nformat"])
def test_a_path_that_a_profile_cannot_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """It is refused."""
    assert probe_server(tmp_path / name, tmp_path / "out.yaml") == 2
    assert "does not make a valid profile" in capsys.readouterr().err
    assert not (tmp_path / "out.yaml").exists()


@pytest.mark.parametrize("name", ["# x: y", '"', "\\", "'", "{[&*!|>%", "é" * 8, ":", "x"])
def test_a_strange_path(tmp_path: Path, name: str) -> None:
    """It is in the profile as it is."""
    assert probe_server(tmp_path / name, tmp_path / "out.yaml") == 0
    device = load(tmp_path / "out.yaml", sections.PROFILE).device
    assert device == VfioUserDevice(transport="vfio-user", socket=str(tmp_path / name))


def test_every_interface_can_be_probed() -> None:
    """Each interface says what can be seen of it, or that there is nothing to see."""
    assert [each.name for each in INTERFACES if type(each).probe is Interface.probe] == []


def test_a_call_into_the_kernel_that_does_not_return(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Probe ends and names the call, and there is no file."""
    device = KernelGroupDevice(transport="kernel-group", name="x", sysfs="/sys/none/x")

    def look(where: object, interfaces: object, calls: Inflight) -> None:
        calls.begin("read", "region 9", 0, 4)
        signal.pause()

    monkeypatch.setattr(target, "where", lambda word, command: device)
    monkeypatch.setattr(looking, "look", look)
    monkeypatch.setattr(profiles, "Limits", lambda: SimpleNamespace(test=0.5))
    assert main(["probe", "x", "--out", str(tmp_path / "out.yaml")]) == 2
    assert "no profile is written: no answer: read of 4 bytes at 0x0 of region 9" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
