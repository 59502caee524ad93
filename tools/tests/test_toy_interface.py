# SPDX-License-Identifier: GPL-2.0-only
"""A new interface needs a room, a suite and a line of registration, and no change of shared code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_compliance.results import journal
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict

#: An interface with one rule: the size of a region.
FILES = {
    "toy.py": """
        from dataclasses import dataclass

        import pytest

        from vfio_compliance.profiles import Claims, Section
        from vfio_compliance.profiles.kinds import Size
        from vfio_compliance.profiles.records import key
        from vfio_compliance.run.interface import Attachment, Interface


        @dataclass(frozen=True, kw_only=True)
        class ToyClaims(Claims):
            toy_size: int | None = key(Size("1", "1GiB"), "Bytes of the toy region.", default=None)


        class ToySection(Section):
            name = "toy"
            about = "a toy"
            claims = ToyClaims


        class Toy(Interface):
            section = ToySection
            fixtures = "toy"

            def attach(self, session):
                return ToyOnDevice(self, session)


        class ToyOnDevice(Attachment):
            def look(self):
                self.regions = self.session.device.regions[:1]

            def identity(self):
                return {"toy": f"region {self.regions[0].index}"}


        @pytest.fixture
        def toy(session):
            return session.of(ToyOnDevice)
    """,
    "conftest.py": """
        from toy import Toy

        from vfio_compliance import interfaces, profiles, sections

        interfaces.INTERFACES.append(Toy())
        sections.PROFILE = profiles.profile_format([each.section for each in interfaces.INTERFACES])

        pytest_plugins = ["vfio_compliance.plugin.hooks"]
    """,
    "profiles/plans/ci.yaml": """
        format: 1
        name: ci
        description: Toys
        leave_out: []
    """,
    "suites/toy/rules.yaml": """
        interface: toy
        text: {name: toy text, reference: nowhere}
        areas: {TOY: Toys}
        clauses: {TOY-01: the size of a toy}
        rules:
          - id: toy.size
            clause: TOY-01
            says: The toy region is as large as is claimed.
            level: must
            status: documented
            side: driver
            source: line 1
            defects: {none: seen}
    """,
    "suites/toy/test_toy.py": '''
        import pytest

        from vfio_compliance.run import checks


        @pytest.mark.rule("toy.size")
        def test_size(toy, profile):
            """The toy region is as large as is claimed."""
            checks.equal("asking for the size", toy.regions[0].size, profile.claims.toy_size)
    ''',
}


@pytest.fixture
def judge_toy(project: Path, tmp_path: Path) -> Callable[..., Summary]:
    """Judges the reference device by the toy rule alone, in a separate process and folder."""

    def judge(claim: str) -> Summary:
        for name, text in FILES.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(line[8:] for line in text.split("\n")[1:]))
        profile = (project / "profiles/reference.yaml").read_text()
        profile = profile.replace("[migration_v1, dirty_type1]", "[toy]")
        profile = profile.replace("claims:\n", f"claims:\n  toy_size: {claim}\n", 1)
        (tmp_path / "profile.yaml").write_text(profile)
        command = [sys.executable, "-m", "pytest", "--import-mode=importlib", "-p", "no:cacheprovider", "--rootdir=."]
        options = ["--profile=profile.yaml", f"--journal={journal.NAME}", "suites"]
        environment = {"PYTHONPATH": f"{tmp_path}:{project / 'tools'}", "PATH": "/usr/bin:/bin"}
        ended = subprocess.run(
            [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
        )
        assert (tmp_path / journal.NAME).exists(), ended.stdout + ended.stderr
        return summarise(journal.read(tmp_path / journal.NAME))

    return judge


@pytest.mark.parametrize(
    ("claim", "verdict", "code"), [("4KiB", Verdict.PASS, 0), ("8KiB", Verdict.FAIL, 1)], ids=["kept", "broken"]
)
def test_a_toy_interface_is_registered_and_judged(
    judge_toy: Callable[..., Summary], claim: str, verdict: Verdict, code: int
) -> None:
    """Its claim, fixture, rule and identity of the device all take effect."""
    result = judge_toy(claim)
    assert result.verdicts == {"toy.size": verdict}
    assert result.exit_code == code
    assert result.run.interfaces == ("toy",)
    assert result.target.identity["toy"] == "region 0"
