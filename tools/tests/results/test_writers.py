# SPDX-License-Identifier: GPL-2.0-only
"""The formats for machines and tickets, each read by a program that is not ours; whatever a device says in them."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import kernel_parser
import pytest
from hostile import HOSTILE, hostile_run
from jsonschema.validators import Draft202012Validator
from junitparser.junitparser import JUnitXml
from markdown_it.token import Token
from stories import FINISH, NOON, RULE, case, ended, first, recorded, told, waiver

from vfio_compliance.results.events import Broken, Death, Event, Hang, Kernel, Plan
from vfio_compliance.results.journal import Recorded
from vfio_compliance.results.outside import outside
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.results.writers import FORMATS, render
from vfio_compliance.results.writers import json as json_writer
from vfio_compliance.results.writers.kcidb import _STATUS
from vfio_compliance.results.writers.markdown import code

VERDICTS = ["pass", "fail", "hang", "broken", "not-run", "n/a", "kernel"]


@pytest.fixture(params=sorted(HOSTILE))
def hostile(request: pytest.FixtureRequest) -> Summary:
    """A run in which a device says something that it should not."""
    return hostile_run(HOSTILE[request.param])


@pytest.fixture
def mixed() -> Summary:
    """A run with a case of each verdict: a is what it is of."""
    events = [
        ended(f"{letter}[x]", verdict, expected="1", seen="2")
        for letter, verdict in zip("abcdefg", VERDICTS, strict=True)
    ]
    events += [ended("w[1]", "fail", seen="2"), ended("w[2]", "fail", seen="2"), ended("s", "pass")]
    waivers = [waiver(rule="v1.w", link="a/ticket"), waiver(rule="v1.s")]
    return summarise(told(*events, waivers=waivers, device={"driver": "drv", "version": "1.2"}))


@pytest.fixture
def validator(project: Path) -> Draft202012Validator:
    """Of the published schema."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(json_writer.SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", FORMATS)
def test_is_a_pure_function_of_the_journal(mixed: Summary, name: str) -> None:
    """The same run, the same bytes."""
    assert render(name, mixed) == render(name, mixed)
    assert render(name, mixed).endswith("\n")


@pytest.mark.parametrize("name", FORMATS)
def test_steers_no_terminal(hostile: Summary, name: str) -> None:
    """Nothing but letters and new lines, all of which UTF-8 has."""
    text = render(name, hostile)
    assert {letter for letter in text if letter != "\n" and not letter.isprintable()} == set()
    assert text.encode()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "records",
    [told(), told(planned=("a",)), recorded(first([RULE], {})), recorded(first([RULE], {}), Plan(()), FINISH)],
    ids=["no case", "none was run", "the beginning alone", "nothing selected"],
)
def test_of_hardly_anything(name: str, records: Sequence[Recorded]) -> None:
    """A run that has come to nothing has its report as well."""
    assert render(name, summarise(records))


# -- JSON -------------------------------------------------------------------------------------------------------------


def test_json_is_as_its_schema_says(mixed: Summary, validator: Draft202012Validator) -> None:
    """All verdicts."""
    found = json.loads(render("json", mixed))
    validator.validate(found)
    assert found["version"] == json_writer.VERSION == validator.schema["properties"]["version"]["const"]
    assert found["counts"]["rules"]["waived"] == 1
    assert {each["verdict"] for each in found["rules"]} == {*VERDICTS, "waived", "stale"}


def test_json_of_a_hostile_device(hostile: Summary, validator: Draft202012Validator) -> None:
    """It stays JSON by the schema; what is text comes back as it was."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    found = json.loads(render("json", hostile), parse_constant=refuse)
    validator.validate(found)
    said = hostile.run.description
    if not re.search("[\ud800-\udfff]", said):
        assert found["description"] == said
        assert found["rules"][0]["cases"][0]["failure"]["seen"] == said


def test_schema_refuses_what_is_not_said(mixed: Summary, validator: Draft202012Validator) -> None:
    """A failure that does not say why, an unknown verdict, a rule without a clause."""
    found = json.loads(render("json", mixed))
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda found: found["rules"][1]["cases"][0].pop("failure"),
        lambda found: found["rules"][0].update(verdict="perhaps"),
        lambda found: found["rules"][0].pop("clause"),
        lambda found: found.update(version=2),
    ]
    for change in changes:
        damaged = json.loads(json.dumps(found))
        change(damaged)
        assert not validator.is_valid(damaged)


# -- JUnit ------------------------------------------------------------------------------------------------------------


def parsed(text: str) -> JUnitXml:
    """The suites as junitparser has them."""
    junitparser = pytest.importorskip("junitparser")
    return junitparser.JUnitXml.fromstring(text.encode())


def test_junit(mixed: Summary) -> None:
    """Rule and clause are in the names; level, kernel and driver are properties; each verdict has its element."""
    junitparser = pytest.importorskip("junitparser")
    suites = [*parsed(render("junit", mixed))]
    tests = {test.classname: test for suite in suites for test in suite}
    assert {name: [type(each).__name__ for each in test.result] for name, test in tests.items()} == {
        "v1.a": [],
        "v1.b": ["Failure"],
        "v1.c": ["Error"],
        "v1.d": ["Error"],
        "v1.e": ["Error"],
        "v1.f": ["Skipped"],
        "v1.g": ["Failure"],
        "v1.w": ["Skipped"],
        "v1.s": ["Failure"],
    }
    assert tests["v1.b"].name == "DS-01 test_it.py::test_b[x]"
    properties = tests["v1.b"].child(junitparser.Properties)
    assert {each.name: each.value for each in properties}.items() >= {
        ("level", "must"),
        ("verdict", "fail"),
        ("case", case("b[x]")),
    }
    assert {each.name: each.value for each in suites[0].properties()}.items() >= {
        ("kernel", "Linux"),
        ("driver", "drv, 1.2"),
        ("verdict", "NOT CONFORMANT"),
    }
    (failure,) = tests["v1.b"].result
    assert failure.message == "fail: doing it: expected 1, seen 2"
    assert "rerun     vfio-compliance run p.yaml --only" in failure.text
    (suite,) = suites
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (10, 3, 3, 3)


def test_junit_of_a_hostile_device(hostile: Summary) -> None:
    """It is well-formed, and has as many tests and failures as there are."""
    suites = [*parsed(render("junit", hostile))]
    others = [*outside(hostile)]
    assert sum(suite.tests for suite in suites) == len(hostile.cases) + len(others)
    assert sum(len([*suite]) for suite in suites) == len(hostile.cases) + len(others)
    told = [type(each).__name__ for suite in suites for test in suite for each in test.result]
    verdicts = [*(each.verdict for each in hostile.cases.values()), *(each.verdict for each in others)]
    failures = sum(verdict in (Verdict.FAIL, Verdict.KERNEL) for verdict in verdicts)
    assert told.count("Failure") == failures


# -- KTAP -------------------------------------------------------------------------------------------------------------

_RESULT = re.compile(r"(ok|not ok) ([0-9]+) ([^#]+?)(?: # (SKIP|XFAIL|ERROR|TIMEOUT)(?: .*)?)?")


def results(text: str) -> list[tuple[str, str, str | None]]:
    """The result lines: ok or not, number, name and directive. Raises where a line is none, and no comment."""
    version, plan, *lines = text.splitlines()
    matches = [_RESULT.fullmatch(line) for line in lines if not line.startswith("# ")]
    found = [each for each in matches if each]
    assert len(found) == len(matches)
    assert version == "KTAP version 1"
    assert plan == f"1..{len(found)}"
    assert [int(each[2]) for each in found] == [*range(1, len(found) + 1)]
    return [(each[1], each[3], each[4]) for each in found]


def test_ktap(mixed: Summary) -> None:
    """Each verdict by its words; the head says how many are waived, which others count as ok."""
    text = render("ktap", mixed)
    assert text.splitlines()[2] == "# waived: 2 cases broken as waived, each an `ok` with XFAIL below"
    assert [(begin, directive) for begin, _, directive in results(text)] == [
        ("ok", None),
        ("not ok", None),
        ("not ok", "TIMEOUT"),
        ("not ok", "ERROR"),
        ("not ok", "ERROR"),
        ("ok", "SKIP"),
        ("not ok", None),
        ("ok", "XFAIL"),
        ("ok", "XFAIL"),
        ("not ok", None),
    ]


def test_ktap_of_a_hostile_device(hostile: Summary) -> None:
    """No line is forged, and no name comes twice."""
    found = results(render("ktap", hostile))
    assert len(found) == len(hostile.cases) + len([*outside(hostile)])
    assert len({name for _, name, _ in found}) == len(found)


def test_prove_reads_ktap(mixed: Summary, tmp_path: Path) -> None:
    """Perl's reader of TAP counts as many, and the same that failed."""
    if not shutil.which("prove"):
        pytest.skip("there is no prove")
    file = tmp_path / "it.tap"
    file.write_text(render("ktap", mixed), encoding="utf-8")
    done = subprocess.run(["prove", "--exec", "cat", file], capture_output=True, text=True)
    assert "Failed tests:  2-5, 7, 10" in done.stdout
    assert "Tests=10" in done.stdout
    assert "Parse errors" not in done.stdout


@pytest.fixture
def by_kunit(tmp_path: Path) -> Callable[..., Any]:
    """What the kernel's own parser counts in a text: passed, failed, crashed, skipped, errors."""
    return lambda text: kernel_parser.counts(text, tmp_path)


def test_the_kernel_reads_ktap(mixed: Summary, by_kunit: Callable[..., Any]) -> None:
    """It knows no XFAIL, and takes what is waived for passed, as it is meant."""
    assert by_kunit(render("ktap", mixed)) == [3, 6, 0, 1, 0]


def test_the_kernel_reads_ktap_of_a_hostile_device(hostile: Summary, by_kunit: Callable[..., Any]) -> None:
    """Each case is a result, and nothing is an error of the form."""
    *results, errors = by_kunit(render("ktap", hostile))
    assert (sum(results), errors) == (len(hostile.cases) + len([*outside(hostile)]), 0)


# -- KCIDB ------------------------------------------------------------------------------------------------------------


def valid(text: str) -> dict[str, Any]:
    """What KCIDB's own schema takes."""
    schema = pytest.importorskip("kcidb_io.schema.v05_03").Version
    checked: dict[str, Any] = schema.validate(json.loads(text))
    return checked


def test_kcidb(mixed: Summary) -> None:
    """A test for each rule, its cases in misc, by the states that KCIDB has."""
    found = valid(render("kcidb", mixed))
    tests = {each["misc"]["rule"]: each for each in found["tests"]}
    assert {rule: each["status"] for rule, each in tests.items()} == {
        "v1.a": "PASS",
        "v1.b": "FAIL",
        "v1.c": "FAIL",
        "v1.d": "ERROR",
        "v1.e": "MISS",
        "v1.f": "SKIP",
        "v1.g": "FAIL",
        "v1.w": "DONE",
        "v1.s": "FAIL",
    }
    assert tests["v1.b"]["path"] == "vfio_compliance.v1.b"
    assert tests["v1.b"]["misc"]["cases"][0]["id"] == case("b[x]")
    assert len({each["id"] for each in found["tests"]}) == len(tests)
    assert set(_STATUS) == set(Verdict)


def test_kcidb_of_a_hostile_device(hostile: Summary) -> None:
    """The schema takes it, and each test belongs to the build that is there."""
    found = valid(render("kcidb", hostile))
    assert {each["build_id"] for each in found["tests"]} == {each["id"] for each in found["builds"]}
    assert len(found["tests"]) == len(hostile.verdicts) + len([*outside(hostile)])


def test_kcidb_of_a_rule_with_other_letters() -> None:
    """A path takes few letters."""
    odd = replace(RULE, id="v1..a b/c\n#")
    made = summarise(recorded(first([odd], {"x": odd.id}), Plan((("x", odd.id),)), FINISH))
    assert valid(render("kcidb", made))["tests"][0]["path"] == "vfio_compliance.v1._.a_b_c__"


# -- what is in no rule, and what does not count -----------------------------------------------------------------------

HAPPENED = {
    "a server died": (Death("the server", "was killed", "late", True, None), "Failure", "not ok", "FAIL"),
    "the kernel complained": (Kernel(("BUG: it",), None), "Failure", "not ok", "FAIL"),
    "a call hung": (Hang("closing", "", None), "Error", "not ok", "FAIL"),
    "the run ended": (Broken("no cable", "", None), "Error", "not ok", "ERROR"),
}


@pytest.mark.parametrize(("event", "junit", "ktap", "kcidb"), HAPPENED.values(), ids=HAPPENED)
def test_no_format_is_green_where_the_run_is_not(event: Event, junit: str, ktap: str, kcidb: str) -> None:
    """What happened outside of any rule is a test of its own, for readers who know nothing else."""
    made = summarise(told(ended("a", "pass"), event))
    assert made.exit_code != 0
    pytest.importorskip("junitparser")
    last = [test for suite in parsed(render("junit", made)) for test in suite][-1]
    assert [type(each).__name__ for each in last.result] == [junit]
    begin, name, _ = results(render("ktap", made))[-1]
    assert (begin, name) == (ktap, "outside of any rule")
    assert [each["status"] for each in valid(render("kcidb", made))["tests"]] == ["PASS", kcidb]


def test_a_rule_that_does_not_block_makes_no_format_red() -> None:
    """It failed, and the run did not."""
    aside = {"v1.a": {}, "v1.b": {"blocking": False, "suite": "other"}}
    made = summarise(told(ended("a", "pass"), ended("b", "fail"), rules=aside))
    assert made.exit_code == 0
    pytest.importorskip("junitparser")
    tests = [test for suite in parsed(render("junit", made)) for test in suite]
    assert [[type(each).__name__ for each in test.result] for test in tests] == [[], ["Skipped"]]
    assert [(begin, how) for begin, _, how in results(render("ktap", made))] == [("ok", None), ("ok", "XFAIL")]
    assert "# not blocking: 1 case of rules" in render("ktap", made)
    assert [each["status"] for each in valid(render("kcidb", made))["tests"]] == ["PASS", "DONE"]


# -- Markdown ---------------------------------------------------------------------------------------------------------


def tokens(text: str) -> list[Token]:
    """What a reader of CommonMark with tables makes of it."""
    markdown_it = pytest.importorskip("markdown_it")
    parsed: list[Token] = markdown_it.MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    return parsed


def headings(found: Sequence[Token]) -> list[str]:
    """The text of each heading."""
    return [after.content for token, after in itertools.pairwise(found) if token.type == "heading_open"]


def test_markdown(mixed: Summary) -> None:
    """The verdict is the head; each failure has its block and its command, waivers and what was not judged a table."""
    found = tokens(render("markdown", mixed))
    heads = headings(found)
    assert heads == [
        "NOT CONFORMANT",
        "FAIL `v1.b`",
        "HANG `v1.c`",
        "BROKEN `v1.d`",
        "KERNEL `v1.g`",
        "STALE `v1.s`",
        "Waived",
        "Not judged",
    ]
    fences = [token.content for token in found if token.type == "fence"]
    assert any(each.startswith("vfio-compliance run p.yaml --only") for each in fences)
    assert any("expected  1" in each and "seen      2" in each for each in fences)


def test_markdown_of_a_hostile_device(hostile: Summary) -> None:
    """Nothing that a device says is a head, a link, an image, HTML or the end of a cell."""
    found = tokens(render("markdown", hostile))
    inside = [child for token in found for child in token.children or ()]
    kinds = {token.type for token in [*found, *inside]}
    assert kinds.isdisjoint(("link_open", "image", "html_block", "html_inline", "code_block", "em_open", "strong_open"))
    heads = headings(found)
    assert not any("forged" in head for head in heads if "`" not in head)
    cells = [token.type for token in found if token.type in ("tr_open", "th_open", "td_open")]
    rows = cells.count("tr_open")
    assert cells.count("th_open") + cells.count("td_open") == 2 * rows
    said = "".join(child.content for child in inside if child.type == "text")
    assert "alert" not in said
    assert "@all" not in said


@pytest.mark.parametrize("text", ["", " ", "`", "``a`", "`a", "a`", "a b", " a "])
def test_code_is_read_as_it_was_written(text: str) -> None:
    """Whatever ticks and blanks are in it."""
    paragraph = next(token for token in tokens(f"x {code(text)} y") if token.type == "inline")
    (shown,) = [child.content for child in paragraph.children if child.type == "code_inline"]
    assert shown.strip() == text.strip()


def test_numbers_are_no_more_than_numbers() -> None:
    """A journal with a number that is none has a damaged line, and no report has one."""
    from vfio_compliance.results.journal import Damaged, line, parse

    text = line(ended("a", "pass"), NOON).decode()
    for number in ("NaN", "Infinity", "1e999", "-1e300"):
        assert isinstance(parse(text.replace('"seconds":0.1', f'"seconds":{number}')), Damaged)
