# SPDX-License-Identifier: GPL-2.0-only
"""The jobs for CI servers: they have the form that the servers accept, and call existing programs and options."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from vfio_compliance.cli.main import parser

SCHEMAS = {
    "github.yaml": ["--builtin-schema", "vendor.github-workflows"],
    "gitlab.yaml": ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
}
#: A variable of a job, which its server fills in.
VARIABLE = re.compile(r"\$\{\{.*?\}\}|\$\{?\w+\}?")


@pytest.fixture
def jobs(project: Path) -> Path:
    """The folder of the jobs."""
    return project / "tools" / "ci"


def checked(file: Path) -> subprocess.CompletedProcess[str]:
    """The check of a file by its server's published schema; the schemas come with the checker."""
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", *SCHEMAS[file.name], str(file)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("name", SCHEMAS)
def test_form(jobs: Path, name: str) -> None:
    """It fits the server's schema."""
    done = checked(jobs / name)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("github.yaml", "runs-on:", "runs-no:"),
        ("gitlab.yaml", "script:\n", "scirpt:\n"),
        ("gitlab.yaml", "always", "ever"),
    ],
)
def test_form_is_checked(jobs: Path, tmp_path: Path, name: str, right: str, wrong: str) -> None:
    """A slip is found."""
    text = (jobs / name).read_text(encoding="utf-8")
    assert right in text
    (tmp_path / name).write_text(text.replace(right, wrong), encoding="utf-8")
    assert checked(tmp_path / name).returncode == 1


def strings(value: Mapping[str | bool, Any] | str | Sequence[str | Mapping[str, Any]] | int) -> Iterator[str]:
    """All strings in a document."""
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(each)


def _value(environment: Mapping[str, str], found: re.Match[str]) -> str:
    return environment.get(found[0].strip("${}"), "6.12")


def calls(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each call of this program in a file of jobs, as words that its parser takes."""
    for file in sorted([*folder.rglob("*.yaml"), *folder.rglob("[a-z]*.fmf")]):
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        environment = {name: text for part in _parts(document) for name, text in part.items()}
        for line in (line for text in strings(document) for line in text.splitlines()):
            known = VARIABLE.sub(partial(_value, environment), line)
            if match := re.search(r"(tools/ci/judge|\.\./judge|vfio-compliance(?= (?:run|merge))) (.*)", known):
                words = shlex.split(match[2])
                yield file.name, ["vm", *words] if "judge" in match[1] else words


def _parts(value: Mapping[str | bool, Any] | str | Sequence[str | Mapping[str, Any]] | int) -> Iterator[dict[str, str]]:
    """The variables that a file sets: LAVA's `params`, tmt's `environment`."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name in ("params", "environment"):
                yield {key: str(text) for key, text in each.items()}
            else:
                yield from _parts(each)


def test_calls(jobs: Path) -> None:
    """The parser accepts their commands and options."""
    found = [*calls(jobs)]
    assert {name for name, _ in found} == {"github.yaml", "gitlab.yaml", "kernels.fmf", "test.yaml"}
    for _, words in found:
        parser().parse_args(words)  # ends the test by SystemExit otherwise


def test_profiles(jobs: Path, project: Path) -> None:
    """The profiles that jobs name exist."""
    text = "".join(file.read_text(encoding="utf-8") for file in (jobs / "lava").glob("*.yaml"))
    named = {*re.findall(r"profiles/[\w.-]+\.yaml", text)}
    assert named
    assert all((project / name).is_file() for name in named)
