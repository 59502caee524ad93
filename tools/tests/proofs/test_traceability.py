# SPDX-License-Identifier: GPL-2.0-only
"""Clause, rule, test and defect: every chain is complete, in both directions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pytest
from proofs import DEFECTS, page, side_failures

from refdriver.overlays import REGISTRY
from vfio_compliance import rules as spec
from vfio_compliance.cli.main import main
from vfio_compliance.interfaces import CLAUSES
from vfio_compliance.migration_v1.client import FREE
from vfio_compliance.rules.tests import find

SUITES = Path(__file__).resolve().parents[3] / "suites"
CATALOGUE = spec.load(SUITES)
TESTS = list(find(SUITES))

#: The most tests of one rule.
MOST = 4


def test_each_clause_has_a_rule() -> None:
    """No clause of a suite is left without a rule."""
    covered = {clause for rule in CATALOGUE for clause in rule.clauses}
    assert covered == set(CATALOGUE.clauses)


def test_each_rule_has_tests() -> None:
    """There is no rule without a test, and no test of an unknown rule."""
    assert {test.rule for test in TESTS} == set(CATALOGUE.rules)


def test_the_tests_of_a_rule_are_few_and_adjacent() -> None:
    """A rule has a few tests, one for each way in which it can be broken, next to each other."""
    runs = [(rule, len(list(tests))) for rule, tests in groupby(TESTS, key=attrgetter("rule"))]
    assert [rule for rule, times in Counter(rule for rule, _ in runs).items() if times > 1] == []
    assert [rule for rule, tests in runs if tests > MOST] == []


def branching(source: str) -> Iterator[str]:
    """Tests of a file that branch on their parameters alone."""
    module = ast.parse(source).body
    marks = {ast.unparse(node.targets[0]): node.value for node in module if isinstance(node, ast.Assign)}
    for function in module:
        if not isinstance(function, ast.FunctionDef) or not function.name.startswith("test_"):
            continue
        decorators = [marks.get(ast.unparse(mark), mark) for mark in function.decorator_list]
        known = {name for mark in decorators for name in parameters(mark)}
        unknown = {argument.arg for argument in function.args.args} - known
        for node in ast.walk(function):
            if isinstance(node, ast.Assign):
                (known if only(known, unknown, node.value) else unknown).update(names(*node.targets))
            elif isinstance(node, ast.If | ast.IfExp) and only(known, unknown, node.test):
                yield function.name


def parameters(mark: ast.expr) -> Iterator[str]:
    """The names that a ``parametrize`` gives values to; none if a fixture transforms the values (``indirect``)."""
    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.parametrize":
        if any(keyword.arg == "indirect" for keyword in mark.keywords):
            return
        given = ast.literal_eval(mark.args[0])
        yield from [given] if isinstance(given, str) else given


def only(known: set[str], unknown: set[str], expression: ast.expr) -> bool:
    """Whether an expression uses names that are known before the test begins, and no others."""
    used = names(expression)
    return bool(used & known) and not used & unknown


def names(*nodes: ast.AST) -> set[str]:
    """The names in an expression."""
    return {each.id for node in nodes for each in ast.walk(node) if isinstance(each, ast.Name)}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("if case == 'a': device.reset()", True),
        ("device.reset(1 if case else 2)", True),
        ("kind = KINDS[case]\n    if kind: device.reset()", True),
        ("answer = device.ask(case)\n    if answer: device.reset()", False),
        ("if case in device.areas: device.reset()", False),
        ("for each in case: device.write(each)", False),
    ],
)
def test_branches_on_parameters_are_found(body: str, found: bool) -> None:
    """Branches on a parameter are found; those on what the device answers are not."""
    head = "mark = pytest.mark.parametrize('case', [])\n@mark\ndef test_it(device, case):"
    assert bool(list(branching(f"{head}\n    {body}"))) == found


def test_no_test_branches_on_its_parameter() -> None:
    """A body that branches on a parameter should be two tests."""
    assert [
        f"{file.name}::{test}" for file in sorted(SUITES.glob("*/test_*.py")) for test in branching(file.read_text())
    ] == []


def test_each_docstring_is_a_sentence() -> None:
    """The docstring of a test is a sentence about a good device."""
    assert [test.name for test in TESTS if not (test.says[:1].isupper() and test.says.endswith("."))] == []


def test_each_test_is_in_the_suite_of_its_rule() -> None:
    """A test is in the suite whose rules.yaml has its rule."""
    assert [test.name for test in TESTS if test.file.parent.name != CATALOGUE.rules[test.rule].suite] == []


def test_defects_are_those_of_the_driver() -> None:
    """Rules name the defects of the reference driver, all of them and no others."""
    listed = subprocess.run(
        [sys.executable, "-m", "refdriver", "--list-defects"], capture_output=True, text=True, check=True
    )
    known = {line.split()[0] for line in listed.stdout.splitlines()}
    assert {defect for rule in CATALOGUE for defect in rule.defects} == known


def test_module_has_the_same_defects(project: Path) -> None:
    """The kernel module's defects have the names of the server's.

    It has none of those that a kernel prevents, nor those of interrupts. Six more break no rule: a run has to report
    what happens when a driver upsets the kernel.
    """
    source = (project / "tools/kmod/defects/defects.h").read_text()
    known = set(re.findall(r'DEFECT\(\w+, "([a-z0-9-]+)", \w+\)', source))
    proving = {
        side: {defect for rule in CATALOGUE if rule.side == side for defect in rule.defects} for side in spec.SIDES
    }
    of_interrupts = {
        name
        for name, defect in REGISTRY.items()
        if defect.overlays[0].__module__ == "refdriver.device.defects.interrupts"
    }
    assert of_interrupts
    upsetting = {f"{how}-once" for how in ("warn", "oops", "hang", "lockup", "stray", "panic")}
    assert known == proving["driver"] - proving["kernel"] - of_interrupts | upsetting


def test_each_pair_has_its_message() -> None:
    """A pair of rule and defect has the words in which the failure names the cause."""
    assert [(defect, rule) for defect, proves in DEFECTS.items() for rule, shows in proves.items() if not shows] == []


def test_side_failures_are_of_other_rules() -> None:
    """What is listed as failing with a defect is a rule, and not one that the defect is there to break."""
    beside = side_failures()
    assert beside.keys() <= DEFECTS.keys()
    assert [(defect, rule) for defect in beside for rule in beside[defect] if rule not in CATALOGUE.rules] == []
    assert [(defect, rule) for defect in beside for rule in beside[defect] if rule in DEFECTS[defect]] == []
    assert all(reason for reasons in beside.values() for reason in reasons.values())


def test_the_page_of_proofs_is_current(project: Path) -> None:
    """README.md is what its generator writes now."""
    assert (project / "tools/tests/proofs/README.md").read_text().splitlines() == list(page())


def test_defects_are_listed_with_their_rules(capsys: pytest.CaptureFixture[str]) -> None:
    """``list --defects`` names every defect with the rules that it breaks, and every rule that no defect breaks."""
    main(["list", "--defects"])
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0]: line.split(None, 1)[1].split(", ") for line in lines if line.split()[0] in DEFECTS} == {
        defect: list(proves) for defect, proves in DEFECTS.items()
    }
    unproven = {rule for line in lines if line.startswith("not proven") for rule in line.split(": ")[1].split(", ")}
    assert unproven == {rule.id for rule in CATALOGUE if rule.unprovable}


def test_unprovable_rules_are_few() -> None:
    """Rules that no defect can prove have a reason, and a driver need not keep any of them.

    Those that a kernel has to keep are those that a server cannot be asked.
    """
    unprovable = [rule for rule in CATALOGUE if rule.unprovable and rule.side != "client"]
    assert all(rule.level == "may" for rule in unprovable if rule.side == "driver")
    kernels = {rule.id for rule in unprovable if rule.side == "kernel"}
    assert kernels == {"dirty.bitmap.all-devices", "dirty.history.failed-query-keeps"}
    assert len(unprovable) < len(CATALOGUE.rules) / 20


def test_client_rules_are_those_of_the_judge() -> None:
    """The rules of clients are those that the judge of clients judges, except for the macros."""
    judged = {rule.clause for rule in CATALOGUE if rule.side == "client" and not rule.id.startswith("v1.macro.")}
    assert judged == {*CLAUSES, FREE}


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ("clause: X-99", "unknown clause X-99"),
        ("level: shall", "'shall' is not one of must, should, may"),
        ("defects: {}", "needs either defects or the reason"),
        ("colour: red", "unknown keys ['colour']"),
        ("id: a.b", "a.b: defined twice"),
        ("says: 5", "says must not be 5"),
        ("also: X-01", "also must not be 'X-01'"),
        ("also: [5]", "also must not be (5,)"),
        ("defects: {d: 1}", "defects must not be {'d': 1}"),
        ("defects: [d]", "defects must not be ('d',)"),
        ("stands_on: a.b", "stands_on must not be 'a.b'"),
        ("stands_on: [5]", "stands_on must not be (5,)"),
        ("stands_on: [a.c]", "x.y: depends on unknown rule a.c"),
        ("stands_on: [x.y]", "x.y: depends on itself"),
    ],
)
def test_bad_rules_are_named(tmp_path: Path, record: str, complaint: str) -> None:
    """A rules file with a mistake in it is refused; the message names the rule and the mistake."""
    rule = {"id": "x.y", "clause": "X-01", "says": "S.", "level": "must", "status": "documented", "side": "driver"}
    rule |= {"source": "line 1", "defects": "{d: seen}"}
    first = "\n    ".join(f"{key}: {value}" for key, value in (rule | {"id": "a.b"}).items())
    key, _, value = record.partition(": ")
    second = "\n    ".join(f"{key}: {value}" for key, value in (rule | {key: value}).items())
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "rules.yaml").write_text(
        f"interface: i\ntext: {{name: t}}\nareas: {{X: x}}\nclauses: {{X-01: x}}\nrules:\n  - {first}\n  - {second}\n"
    )
    with pytest.raises(spec.SpecError, match=r"rules\.yaml") as caught:
        spec.load(tmp_path)
    assert complaint in str(caught.value)


def catalogue_of(folder: Path, **foundations: Iterable[str]) -> spec.Catalogue:
    """A catalogue of rules a, b, c, ... in two suites, each with the rules that it depends on."""
    half = len(foundations) // 2
    names = list(foundations)
    for suite, part in (("one", names[:half]), ("two", names[half:])):
        (folder / suite).mkdir()
        head = "interface: i\ntext: {name: t}\nareas: {X: x}\nclauses: {X-1: x}\nrules:\n"
        rules = "".join(
            f"- {{id: {name}, clause: X-1, says: S., level: must, status: documented, side: driver, source: s,"
            f" defects: {{d: seen}}, stands_on: [{', '.join(foundations[name])}]}}\n"
            for name in part
        )
        (folder / suite / "rules.yaml").write_text(head + (rules or "  []\n"))
    return spec.load(folder)


def test_rules_of_two_suites_stand_on_each_other(tmp_path: Path) -> None:
    """Whichever suite comes first."""
    catalogue = catalogue_of(tmp_path, a="bc", b="d", c="", d="")
    assert [rule.stands_on for rule in catalogue] == [("b", "c"), ("d",), (), ()]


def test_a_long_chain_of_rules_is_loaded(tmp_path: Path) -> None:
    """A chain of thousands is loaded; if its end leads back to the beginning, it is refused as a cycle."""
    rules = {f"r{number}": [f"r{number + 1}"] for number in range(3000)}
    (tmp_path / "good").mkdir()
    assert len(catalogue_of(tmp_path / "good", **rules, r3000=[]).rules) == 3001
    (tmp_path / "bad").mkdir()
    with pytest.raises(spec.SpecError, match="r0: depends on itself, by way of r1, r2"):
        catalogue_of(tmp_path / "bad", **rules, r3000=["r0"])


@pytest.mark.parametrize(
    ("foundations", "complaint"),
    [
        ({"a": "a"}, "a: depends on itself"),
        ({"a": "b", "b": "a"}, "a: depends on itself, by way of b"),
        ({"a": "b", "b": "c", "c": "db", "d": ""}, "b: depends on itself, by way of c"),
        ({"a": "b", "b": "", "c": "dx", "d": ""}, "c: depends on unknown rule x"),
        ({"a": "b", "b": "c", "c": "xy"}, "c: depends on unknown rule x, y"),
    ],
)
def test_cycles_and_unknown_foundations_are_refused(
    tmp_path: Path, foundations: Mapping[str, Iterable[str]], complaint: str
) -> None:
    """A cycle is named from its first rule on, across suites; an unknown rule is named, too."""
    with pytest.raises(spec.SpecError, match=r"rules\.yaml: ") as caught:
        catalogue_of(tmp_path, **foundations)
    assert str(caught.value).endswith(f"rules.yaml: {complaint}")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"rules: \xff", "invalid start byte"),
        (b"rules: " + b"[" * 5000, ""),
        (b"areas: {}\nclauses: {}", "the key 'rules' is missing"),
        (b"areas: 5\nclauses: {}\nrules: []", ""),
        (b"areas: {}\nclauses: {}\nrules: [a rule]", ""),
        (b"when: 2026-13-45", ""),
    ],
)
def test_unusable_rules_files_are_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    """Not UTF-8, nested too deeply, something else in place of a mapping, an impossible date."""
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "rules.yaml").write_bytes(content)
    with pytest.raises(spec.SpecError, match=r"rules\.yaml") as caught:
        spec.load(tmp_path)
    assert complaint in str(caught.value)


def test_rules_that_do_not_block_come_last(tmp_path: Path) -> None:
    """A suite says for all its rules whether they block; by default, they do."""
    for folder, head in (("a", "blocking: false\n"), ("b", ""), ("c", "blocking: true\n")):
        (tmp_path / folder).mkdir()
        rule = f"{{id: {folder}, clause: X-1, says: S., level: must, status: documented, side: driver, source: s,"
        rule += " defects: {d: seen}}"
        text = f"{head}interface: i\ntext: {{name: t}}\nareas: {{X: x}}\nclauses: {{X-1: x}}\nrules: [{rule}]\n"
        (tmp_path / folder / "rules.yaml").write_text(text)
    assert [(rule.id, rule.blocking) for rule in spec.load(tmp_path)] == [("b", True), ("c", True), ("a", False)]
    (tmp_path / "c" / "rules.yaml").write_text("blocking: perhaps\n")
    with pytest.raises(spec.SpecError, match="'perhaps' is neither true nor false"):
        spec.load(tmp_path)
