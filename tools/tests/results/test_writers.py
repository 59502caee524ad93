# SPDX-License-Identifier: GPL-2.0-only
"""The formats for machines and tickets, each read by an independent program, even for hostile devices."""

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
from stories import FINISH, NOON, RULE, case, ended, first, recorded, run_of, waiver

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
    """A run in which a device returns a hostile string."""
    return hostile_run(HOSTILE[request.param])


@pytest.fixture
def mixed() -> Summary:
    """A run with a case of each verdict."""
    events = [
        ended(f"{letter}[x]", verdict, expected="1", seen="2")
        for letter, verdict in zip("abcdefg", VERDICTS, strict=True)
    ]
    events += [ended("w[1]", "fail", seen="2"), ended("w[2]", "fail", seen="2"), ended("s", "pass")]
    waivers = [waiver(rule="v1.w", link="a/ticket"), waiver(rule="v1.s")]
    return summarise(run_of(*events, waivers=waivers, device={"driver": "drv", "version": "1.2"}))


@pytest.fixture
def validator(project: Path) -> Draft202012Validator:
    """A validator of the published schema."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(json_writer.SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", FORMATS)
def test_the_output_depends_only_on_the_journal(mixed: Summary, name: str) -> None:
    """The same run gives the same bytes."""
    assert render(name, mixed) == render(name, mixed)
    assert render(name, mixed).endswith("\n")


@pytest.mark.parametrize("name", FORMATS)
def test_the_output_does_not_control_a_terminal(hostile: Summary, name: str) -> None:
    """Only printable characters and newlines, all valid in UTF-8."""
    text = render(name, hostile)
    assert {letter for letter in text if letter != "\n" and not letter.isprintable()} == set()
    assert text.encode()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "records",
    [run_of(), run_of(planned=("a",)), recorded(first([RULE], {})), recorded(first([RULE], {}), Plan(()), FINISH)],
    ids=["no case", "none was run", "only the first event", "nothing selected"],
)
def test_a_nearly_empty_run(name: str, records: Sequence[Recorded]) -> None:
    """It has a report as well."""
    assert render(name, summarise(records))


# -- JSON -------------------------------------------------------------------------------------------------------------


def test_json_follows_its_schema(mixed: Summary, validator: Draft202012Validator) -> None:
    """With all verdicts."""
    found = json.loads(render("json", mixed))
    validator.validate(found)
    assert found["version"] == json_writer.VERSION == validator.schema["properties"]["version"]["const"]
    assert found["counts"]["rules"]["waived"] == 1
    assert {each["verdict"] for each in found["rules"]} == {*VERDICTS, "waived", "stale"}


def test_json_of_a_hostile_device(hostile: Summary, validator: Draft202012Validator) -> None:
    """It is valid JSON by the schema, and strings are read back unchanged."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not valid JSON")

    found = json.loads(render("json", hostile), parse_constant=refuse)
    validator.validate(found)
    description = hostile.run.description
    if not re.search("[\ud800-\udfff]", description):
        assert found["description"] == description
        assert found["rules"][0]["cases"][0]["failure"]["seen"] == description


def test_schema_refuses_incomplete_records(mixed: Summary, validator: Draft202012Validator) -> None:
    """A failed case without a failure, an unknown verdict, a rule without a clause, another version."""
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
    """The suites as junitparser reads them."""
    junitparser = pytest.importorskip("junitparser")
    return junitparser.JUnitXml.fromstring(text.encode())


def test_junit(mixed: Summary) -> None:
    """Names have the rule and the clause; level, kernel and driver are properties; each verdict has its element."""
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
    """It is well-formed, and has the right number of tests and failures."""
    suites = [*parsed(render("junit", hostile))]
    others = [*outside(hostile)]
    assert sum(suite.tests for suite in suites) == len(hostile.cases) + len(others)
    assert sum(len([*suite]) for suite in suites) == len(hostile.cases) + len(others)
    elements = [type(each).__name__ for suite in suites for test in suite for each in test.result]
    verdicts = [*(each.verdict for each in hostile.cases.values()), *(each.verdict for each in others)]
    failures = sum(verdict in (Verdict.FAIL, Verdict.KERNEL) for verdict in verdicts)
    assert elements.count("Failure") == failures


# -- KTAP -------------------------------------------------------------------------------------------------------------

_RESULT = re.compile(r"(ok|not ok) ([0-9]+) ([^#]+?)(?: # (SKIP|XFAIL|ERROR|TIMEOUT)(?: .*)?)?")


def results(text: str) -> list[tuple[str, str, str | None]]:
    """The result lines: ok or not, name and directive. Asserts that other lines are comments."""
    version, plan, *lines = text.splitlines()
    matches = [_RESULT.fullmatch(line) for line in lines if not line.startswith("# ")]
    found = [each for each in matches if each]
    assert len(found) == len(matches)
    assert version == "KTAP version 1"
    assert plan == f"1..{len(found)}"
    assert [int(each[2]) for each in found] == [*range(1, len(found) + 1)]
    return [(each[1], each[3], each[4]) for each in found]


def test_ktap(mixed: Summary) -> None:
    """Each verdict has its words; the head has the number of waived cases, which other programs count as ok."""
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
    """No line is forged, and all names differ."""
    found = results(render("ktap", hostile))
    assert len(found) == len(hostile.cases) + len([*outside(hostile)])
    assert len({name for _, name, _ in found}) == len(found)


def test_prove_reads_ktap(mixed: Summary, tmp_path: Path) -> None:
    """Perl's TAP reader finds the same number of tests and the same failures."""
    if not shutil.which("prove"):
        pytest.skip("prove is not installed")
    file = tmp_path / "it.tap"
    file.write_text(render("ktap", mixed), encoding="utf-8")
    done = subprocess.run(["prove", "--exec", "cat", file], capture_output=True, text=True)
    assert "Failed tests:  2-5, 7, 10" in done.stdout
    assert "Tests=10" in done.stdout
    assert "Parse errors" not in done.stdout


@pytest.fixture
def by_kunit(tmp_path: Path) -> Callable[..., Any]:
    """What the kernel's own parser counts in KTAP: passed, failed, crashed, skipped, errors."""
    return lambda text: kernel_parser.counts(text, tmp_path)


def test_the_kernel_reads_ktap(mixed: Summary, by_kunit: Callable[..., Any]) -> None:
    """It does not know XFAIL, and counts waived cases as passed, as intended."""
    assert by_kunit(render("ktap", mixed)) == [3, 6, 0, 1, 0]


def test_the_kernel_reads_ktap_of_a_hostile_device(hostile: Summary, by_kunit: Callable[..., Any]) -> None:
    """Each case is a result, and there is no error of form."""
    *results, errors = by_kunit(render("ktap", hostile))
    assert (sum(results), errors) == (len(hostile.cases) + len([*outside(hostile)]), 0)


# -- KCIDB ------------------------------------------------------------------------------------------------------------


def valid(text: str) -> dict[str, Any]:
    """The report, validated by KCIDB's own schema."""
    schema = pytest.importorskip("kcidb_io.schema.v05_03").Version
    checked: dict[str, Any] = schema.validate(json.loads(text))
    return checked


def test_kcidb(mixed: Summary) -> None:
    """A test for each rule, with its cases in misc and its verdict as one of KCIDB's states."""
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
    """The schema accepts it, and each test belongs to the build of the report."""
    found = valid(render("kcidb", hostile))
    assert {each["build_id"] for each in found["tests"]} == {each["id"] for each in found["builds"]}
    assert len(found["tests"]) == len(hostile.verdicts) + len([*outside(hostile)])


def test_kcidb_of_a_rule_with_other_letters() -> None:
    """Characters that are not allowed in a path are replaced."""
    odd = replace(RULE, id="v1..a b/c\n#")
    made = summarise(recorded(first([odd], {"x": odd.id}), Plan((("x", odd.id),)), FINISH))
    assert valid(render("kcidb", made))["tests"][0]["path"] == "vfio_compliance.v1._.a_b_c__"


# -- events outside of any rule, and other rules -----------------------------------------------------------------------

HAPPENED = {
    "a server died": (Death("the server", "was killed", "late", True, None), "Failure", "not ok", "FAIL"),
    "the kernel complained": (Kernel(("BUG: it",), None), "Failure", "not ok", "FAIL"),
    "a call hung": (Hang("closing", "", None), "Error", "not ok", "FAIL"),
    "the run ended": (Broken("no cable", "", None), "Error", "not ok", "ERROR"),
}


@pytest.mark.parametrize(("event", "junit", "ktap", "kcidb"), HAPPENED.values(), ids=HAPPENED)
def test_no_format_is_green_if_the_run_is_not(event: Event, junit: str, ktap: str, kcidb: str) -> None:
    """An event outside of any rule becomes a separate test, for readers who only see tests."""
    made = summarise(run_of(ended("a", "pass"), event))
    assert made.exit_code != 0
    pytest.importorskip("junitparser")
    last = [test for suite in parsed(render("junit", made)) for test in suite][-1]
    assert [type(each).__name__ for each in last.result] == [junit]
    begin, name, _ = results(render("ktap", made))[-1]
    assert (begin, name) == (ktap, "outside of any rule")
    assert [each["status"] for each in valid(render("kcidb", made))["tests"]] == ["PASS", kcidb]


def test_a_non_blocking_rule_makes_no_format_red() -> None:
    """The rule failed, but the run did not."""
    aside = {"v1.a": {}, "v1.b": {"blocking": False, "suite": "other"}}
    made = summarise(run_of(ended("a", "pass"), ended("b", "fail"), rules=aside))
    assert made.exit_code == 0
    pytest.importorskip("junitparser")
    tests = [test for suite in parsed(render("junit", made)) for test in suite]
    assert [[type(each).__name__ for each in test.result] for test in tests] == [[], ["Skipped"]]
    assert [(begin, how) for begin, _, how in results(render("ktap", made))] == [("ok", None), ("ok", "XFAIL")]
    assert "# not blocking: 1 case of rules" in render("ktap", made)
    assert [each["status"] for each in valid(render("kcidb", made))["tests"]] == ["PASS", "DONE"]


# -- Markdown ---------------------------------------------------------------------------------------------------------


def tokens(text: str) -> list[Token]:
    """The tokens of a CommonMark parser with tables."""
    markdown_it = pytest.importorskip("markdown_it")
    parsed: list[Token] = markdown_it.MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    return parsed


def headings(found: Sequence[Token]) -> list[str]:
    """The content of each heading."""
    return [after.content for token, after in itertools.pairwise(found) if token.type == "heading_open"]


def test_markdown(mixed: Summary) -> None:
    """The verdict is the heading; failures have blocks with commands; waivers and unjudged rules have tables."""
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
    """No string of a device becomes a heading, a link, an image, HTML or the end of a cell."""
    found = tokens(render("markdown", hostile))
    inside = [child for token in found for child in token.children or ()]
    kinds = {token.type for token in [*found, *inside]}
    assert kinds.isdisjoint(("link_open", "image", "html_block", "html_inline", "code_block", "em_open", "strong_open"))
    heads = headings(found)
    assert not any("forged" in head for head in heads if "`" not in head)
    cells = [token.type for token in found if token.type in ("tr_open", "th_open", "td_open")]
    rows = cells.count("tr_open")
    assert cells.count("th_open") + cells.count("td_open") == 2 * rows
    plain = "".join(child.content for child in inside if child.type == "text")
    assert "alert" not in plain
    assert "@all" not in plain


@pytest.mark.parametrize("text", ["", " ", "`", "``a`", "`a", "a`", "a b", " a "])
def test_code_is_read_back_unchanged(text: str) -> None:
    """Whatever backticks and blanks are in it."""
    paragraph = next(token for token in tokens(f"x {code(text)} y") if token.type == "inline")
    (shown,) = [child.content for child in paragraph.children if child.type == "code_inline"]
    assert shown.strip() == text.strip()


def test_invalid_numbers_damage_a_line() -> None:
    """A line with a number that is not finite or out of range is damaged, so no report has such a number."""
    from vfio_compliance.results.journal import Damaged, line, parse

    text = line(ended("a", "pass"), NOON).decode()
    for number in ("NaN", "Infinity", "1e999", "-1e300"):
        assert isinstance(parse(text.replace('"seconds":0.1', f'"seconds":{number}')), Damaged)
