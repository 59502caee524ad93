# SPDX-License-Identifier: GPL-2.0-only
"""Damaged files that this program wrote, or that belong to it."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from random import Random
from typing import TypeAlias

import pytest
import yaml
from campaign import Campaign
from jsonschema import Draft202012Validator
from stories import chained
from text_mutation import mutate_text, mutate_tree

from vfio_compliance import rules as spec
from vfio_compliance.cli.main import main
from vfio_compliance.clients.trace import Region, Writer
from vfio_compliance.results import journal, matrix, merging, summary
from vfio_compliance.results.comparison import compare
from vfio_compliance.results.events import Broken, Death, End, Event, Hang, Kernel, Run
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.setting import Waiver
from vfio_compliance.results.writers import FORMATS, difference, merged, render
from vfio_compliance.results.writers.html import index
from vfio_compliance.results.writers.json import SCHEMA
from vfio_compliance.run.client import Bitmap, ContainerCall

Lines: TypeAlias = list[str]


#: How often the chain of a damaged journal is made again, so that its reader accepts the lines.
_CHAINED = 0.75


def _damaged(rng: Random, lines: list[str]) -> tuple[str, bytes]:
    """A file of JSON lines with one of them changed, as text or as a tree, or with lines changed."""
    if rng.random() < 0.3:
        return mutate_text(rng, "".join(lines))
    at = rng.randrange(len(lines))
    kind, record = mutate_tree(rng, json.loads(lines[at]))
    return f"record {kind}", "".join([*lines[:at], json.dumps(record) + "\n", *lines[at + 1 :]]).encode()


def _command(*words: str) -> tuple[int, str]:
    """Exit code and output of a command."""
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = main(list(words))
    return code, output.buffer.getvalue().decode()


def _refuse(number: str) -> None:
    raise AssertionError(f"{number} is not JSON")


@pytest.fixture(scope="module")
def run(
    judge_in_process: Callable[..., summary.Summary], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Lines:
    """The journal of a short run, with every kind of event, but without many alike."""
    out = tmp_path_factory.mktemp("run")
    only = "--only=v1.reserved"
    judge_in_process(project / "profiles" / "reference.yaml", out, only, "--defect=reserved-garbage", most=2)
    made = list(journal.read(out / journal.NAME))
    last = made[-1]
    assert isinstance(last, journal.Recorded)
    waiver = Waiver("v1.reserved.reads-zero", "known", shows="0xdeadbeef", expires=date(2999, 1, 1))
    events: list[Event] = []
    for line in made:
        assert isinstance(line, journal.Recorded)
        event = line.event
        if isinstance(event, Run):
            rules = tuple(rule for rule in event.rules if rule.id.startswith("v1.reserved"))
            event = replace(event, rules=rules, waivers=(waiver,))
        elif isinstance(event, End):
            event = replace(event, calls=event.calls[:5])
        if event:
            events.append(event)
    case = next(event.case for event in events if isinstance(event, End))
    extra: list[Event] = [Kernel(("BUG: something",), case), Death("the server", "ended", "at close", False, case)]
    extra += [Hang("a call", "wait", None), Broken("no device", "plug it in", None)]
    recorded = [*events[:-1], *extra, events[-1]]
    lines = [record.decode() for event in recorded for record in journal.records(event, last.time)]
    assert 10 < len(lines) < 30
    return lines


def test_journals(campaign: Callable[[str, str], Campaign], run: Lines, tmp_path: Path) -> None:
    """The report of a journal, and the judge of its calls, end with one of their exit codes and print something.

    There is a report in each format, and the one in JSON matches its schema.
    """
    counted = campaign("journals", "damaged_files")
    undamaged = summarise(journal.lines(chained(line.encode() for line in run), "the run"))
    validate = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate

    def trial(rng: Random) -> None:
        # A hang decides the exit code, whatever else happened.
        kind, data = _damaged(rng, run if rng.random() < 0.5 else [line for line in run if '"hang"' not in line])
        if rng.random() < _CHAINED:
            data = b"".join(chained(data.splitlines(keepends=True)))
        counted.add_input(kind, data.decode(errors="backslashreplace"))
        (tmp_path / journal.NAME).write_bytes(data)
        for command in ("report", "judge"):
            code, output = _command(command, str(tmp_path))
            assert code in range(5)
            assert output.strip()
            counted.add_outcome(f"{command}: {code}")
        with contextlib.suppress(journal.JournalError):
            made = summarise(journal.read(tmp_path / journal.NAME))
            assert matrix.render([matrix.column("here", made)], 100, whole=True)
            runs = merging.named([merging.merged("here", made)])
            assert merged.render(runs, 0, 100, whole=True)
            assert index.render([index.Linked(runs[0], "report.html")], [])
            assert difference.render(compare(undamaged, made), 100)
            for name in FORMATS:
                assert render(name, made)
            validate(json.loads(render("json", made), parse_constant=_refuse))

    counted.run(200, trial)


def test_traces(campaign: Callable[[str, str], Campaign], tmp_path: Path) -> None:
    """A trace is judged as far as it is valid; an error names its line."""
    counted = campaign("traces", "damaged_files")
    whole = tmp_path / "whole"
    _write_trace(whole)
    lines = whole.read_text(encoding="utf-8").splitlines(keepends=True)
    path = tmp_path / "trace"

    def trial(rng: Random) -> None:
        kind, data = _damaged(rng, lines)
        counted.add_input(kind, data.decode(errors="backslashreplace"))
        path.write_bytes(data)
        code, output = _command("judge", str(path), *rng.choice(((), ("--region", "9"), ("--source", str(whole)))))
        assert code in (0, 1, 2, 4)
        assert output.strip()
        counted.add_outcome(f"exit code {code}")

    counted.run(400, trial)


def _write_trace(path: Path) -> None:
    """The trace of a client that saves a state of two buffers, and restores one."""
    registers = {"device_state": (0, 4), "pending_bytes": (8, 8), "data_offset": (16, 8), "data_size": (24, 8)}
    writer = Writer(path, "a client", maps_seen=True)
    time = iter(range(1000))

    def access(verb: str, register: str, value: int) -> None:
        offset, width = registers[register]
        writer.access(verb, next(time), 5, (9, offset, width), width, 0, value.to_bytes(width, "little"))

    writer.region(0, Region(9, 0x5000, ((0x1000, 0x4000),), True))
    writer.simple("open", 0)
    writer.access("map", 0, 1, (9, 0x1000, 0x4000), 0, 0, b"")
    access("write", "device_state", 2)
    for pending in (100, 50):
        access("read", "pending_bytes", pending)
        access("read", "data_offset", 0x1000)
        access("read", "data_size", 50)
        writer.access("read", next(time), 5, (9, 0x1000, 50), 50, 0, bytes(50))
    access("read", "pending_bytes", 0)
    writer.reset(next(time), 7, 0)
    access("write", "device_state", 4)
    access("read", "data_offset", 0x1000)
    writer.access("write", next(time), 5, (9, 0x1000, 100), 100, 0, b"", "ab" * 32)
    access("write", "data_size", 100)
    writer.access("write", next(time), 5, (9, 0, 4), -1, 22, bytes(4))
    page = Bitmap(4096, 8, True)
    writer.called("dma-map", next(time), 3, ContainerCall(32, 3, 0x10000, 0x4000), 0, 0)
    writer.called("dirty", next(time), 3, ContainerCall(8, 1), 0, 0)
    writer.called("dirty", next(time), 3, ContainerCall(48, 4, 0x10000, 0x4000, page), 0, 0)
    writer.called("dma-unmap", next(time), 3, ContainerCall(48, 1, 0x10000, 0x4000, page._replace(zero=None)), -1, 22)
    writer.access("write", next(time), 5, (9, 0x1000, 100), 100, 0, b"\1\2", unknown=True)
    writer.access("read", next(time), 5, (2, 0, 4), 4, 0, b"", unknown=True, device=1)
    writer.gap(next(time), "the recorder slept")
    writer.simple("close", next(time))
    writer.close(next(time))


def test_rules(campaign: Callable[[str, str], Campaign], project: Path, tmp_path: Path) -> None:
    """A file of rules is accepted, or there is one error that names the file."""
    counted = campaign("rules", "damaged_files")
    document = yaml.safe_load((project / "suites" / "client_sequences" / "rules.yaml").read_text(encoding="utf-8"))
    document["rules"][3:] = []
    used = {clause for rule in document["rules"] for clause in (rule["clause"], *rule.get("also", ()))}
    document["clauses"] = {clause: title for clause, title in document["clauses"].items() if clause in used}
    names = [rule["id"] for rule in document["rules"]]
    document["rules"][0]["stands_on"] = names[1:]
    document["rules"][1]["stands_on"] = names[2:]
    text = yaml.dump(document, sort_keys=False)
    path = tmp_path / "suite" / "rules.yaml"
    path.parent.mkdir()

    def trial(rng: Random) -> None:
        if rng.random() < 0.4:
            kind, data = mutate_text(rng, text)
        else:
            kind, tree = mutate_tree(rng, document)
            kind, data = f"tree {kind}", yaml.dump(tree, sort_keys=False).encode()
        counted.add_input(kind, data.decode(errors="backslashreplace"))
        path.write_bytes(data)
        try:
            catalogue = spec.load(tmp_path)
        except spec.SpecError as error:
            counted.add_outcome("an error" if str(path) in str(error) else "an error without the file's name")
        else:
            assert all(rule.area and rule.clauses for rule in catalogue)
            catalogue.matching("qemu")
            assert all(rule.id not in rule.stands_on for rule in catalogue)
            counted.add_outcome("taken")

    counted.run(200, trial)
    assert set(counted.outcomes) <= {"an error", "taken"}
