# SPDX-License-Identifier: GPL-2.0-only
"""Clause, rule, test and defect: every chain is whole, both ways."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pytest
from proofs import DEFECTS, page, side_failures

from refdriver.defects import REGISTRY
from vfio_compliance import rules as spec
from vfio_compliance.cli.main import main
from vfio_compliance.interfaces import CLAUSES
from vfio_compliance.migration_v1.client import FREE
from vfio_compliance.rules.tests import find

SUITES = Path(__file__).resolve().parents[3] / "suites"
CATALOGUE = spec.load(SUITES)
TESTS = list(find(SUITES))

#: Tests of one rule.
MOST = 4


def test_each_clause_has_a_rule():
    """No clause of a suite is left without a rule."""
    covered = {clause for rule in CATALOGUE for clause in rule.clauses}
    assert covered == set(CATALOGUE.clauses)


def test_each_rule_has_tests():
    """No rule without a test, no test for a rule that is not there."""
    assert {test.rule for test in TESTS} == set(CATALOGUE.rules)


def test_the_tests_of_a_rule_are_few_and_stand_together():
    """A rule has a test for each way in which it can be broken: a few, one after the other."""
    runs = [(rule, len(list(tests))) for rule, tests in groupby(TESTS, key=attrgetter("rule"))]
    assert [rule for rule, times in Counter(rule for rule, _ in runs).items() if times > 1] == []
    assert [rule for rule, tests in runs if tests > MOST] == []


def branching(source: str) -> Iterator[str]:
    """Tests of a file that do one thing or another by nothing but their parameters."""
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
    """The names that a ``parametrize`` gives values to; none where a fixture makes something of the values."""
    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.parametrize":
        if any(keyword.arg == "indirect" for keyword in mark.keywords):
            return
        given = ast.literal_eval(mark.args[0])
        yield from [given] if isinstance(given, str) else given


def only(known: set[str], unknown: set[str], expression: ast.expr) -> bool:
    """Whether an expression uses something that is known before the test begins, and nothing else."""
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
def test_what_looks_at_its_parameter_is_found(body, found):
    """The walk sees what it is there to see, and nothing that depends on the device."""
    head = "mark = pytest.mark.parametrize('case', [])\n@mark\ndef test_it(device, case):"
    assert bool(list(branching(f"{head}\n    {body}"))) == found


def test_no_test_looks_at_its_parameter_to_know_what_to_do():
    """A body that branches on a parameter is two tests."""
    assert [
        f"{file.name}::{test}" for file in sorted(SUITES.glob("*/test_*.py")) for test in branching(file.read_text())
    ] == []


def test_each_test_says_a_sentence():
    """The docstring of a test is a sentence about a good device."""
    assert [test.name for test in TESTS if not (test.says[:1].isupper() and test.says.endswith("."))] == []


def test_each_test_stands_with_its_rule():
    """A test lies in the suite whose rules.yaml has its rule."""
    assert [test.name for test in TESTS if test.file.parent.name != CATALOGUE.rules[test.rule].suite] == []


def test_defects_are_those_of_the_driver():
    """Every defect that a rule names is one of the reference driver, and every one of the driver proves a rule."""
    listed = subprocess.run(
        [sys.executable, "-m", "refdriver", "--list-defects"], capture_output=True, text=True, check=True
    )
    known = {line.split()[0] for line in listed.stdout.splitlines()}
    assert {defect for rule in CATALOGUE for defect in rule.defects} == known


def test_module_has_the_same_defects(project):
    """The kernel module's defects go by the names of the server's; it has none of what a kernel does for it, and no
    interrupts.

    Six more break no rule: a run has to tell what becomes of it when a driver upsets the kernel.
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


def test_each_defect_says_what_is_seen():
    """A pair of rule and defect has the words in which the failure tells the cause."""
    assert [(defect, rule) for defect, proves in DEFECTS.items() for rule, shows in proves.items() if not shows] == []


def test_side_failures_are_of_other_rules():
    """What is written down as failing besides is a rule, and none that the defect is there for."""
    beside = side_failures()
    assert beside.keys() <= DEFECTS.keys()
    assert [(defect, rule) for defect in beside for rule in beside[defect] if rule not in CATALOGUE.rules] == []
    assert [(defect, rule) for defect in beside for rule in beside[defect] if rule in DEFECTS[defect]] == []
    assert all(reason for reasons in beside.values() for reason in reasons.values())


def test_the_page_of_proofs_is_up_to_date(project):
    """The page of proofs is what its generator writes now."""
    assert (project / "tools/tests/proofs/README.md").read_text().splitlines() == list(page())


def test_defects_are_listed_with_their_rules(capsys):
    """``list --defects`` names every defect with the rules that it breaks, and every rule that none breaks."""
    main(["list", "--defects"])
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0]: line.split(None, 1)[1].split(", ") for line in lines if line.split()[0] in DEFECTS} == {
        defect: list(proves) for defect, proves in DEFECTS.items()
    }
    unproven = {rule for line in lines if line.startswith("not proven") for rule in line.split(": ")[1].split(", ")}
    assert unproven == {rule.id for rule in CATALOGUE if rule.unprovable}


def test_unprovable_rules_are_few():
    """What no defect can prove is written down with its reason, and nothing of it is what a driver has to keep.

    Of what a kernel has to keep it is what a server cannot be asked.
    """
    unprovable = [rule for rule in CATALOGUE if rule.unprovable and rule.side != "client"]
    assert all(rule.level == "may" for rule in unprovable if rule.side == "driver")
    kernels = {rule.id for rule in unprovable if rule.side == "kernel"}
    assert kernels == {"dirty.bitmap.all-devices", "dirty.history.failed-query-keeps"}
    assert len(unprovable) < len(CATALOGUE.rules) / 20


def test_client_rules_are_those_of_the_judge():
    """What a client has to keep is what the judge of clients judges, but for the macros."""
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
        ("stands_on: [a.c]", "x.y: stands on unknown rule a.c"),
        ("stands_on: [x.y]", "x.y: stands on itself"),
    ],
)
def test_bad_rules_are_named(tmp_path, record, complaint):
    """A rules file with a slip in it is refused, with the rule and the slip."""
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


def catalogue_of(folder, **foundations):
    """A catalogue of rules a, b, c, ... in two suites, each standing on others."""
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


def test_rules_of_two_suites_stand_on_each_other(tmp_path):
    """Whichever comes first."""
    catalogue = catalogue_of(tmp_path, a="bc", b="d", c="", d="")
    assert [rule.stands_on for rule in catalogue] == [("b", "c"), ("d",), (), ()]


def test_a_long_way_down_is_no_trouble(tmp_path):
    """A rule at the end of thousands, and the same with an end that leads back to the beginning."""
    rules = {f"r{number}": [f"r{number + 1}"] for number in range(3000)}
    (tmp_path / "good").mkdir()
    assert len(catalogue_of(tmp_path / "good", **rules, r3000=[]).rules) == 3001
    (tmp_path / "bad").mkdir()
    with pytest.raises(spec.SpecError, match="r0: stands on itself, by way of r1, r2"):
        catalogue_of(tmp_path / "bad", **rules, r3000=["r0"])


@pytest.mark.parametrize(
    ("foundations", "complaint"),
    [
        ({"a": "a"}, "a: stands on itself"),
        ({"a": "b", "b": "a"}, "a: stands on itself, by way of b"),
        ({"a": "b", "b": "c", "c": "db", "d": ""}, "b: stands on itself, by way of c"),
        ({"a": "b", "b": "", "c": "dx", "d": ""}, "c: stands on unknown rule x"),
        ({"a": "b", "b": "c", "c": "xy"}, "c: stands on unknown rule x, y"),
    ],
)
def test_a_rule_stands_on_known_ones_and_never_on_itself(tmp_path, foundations, complaint):
    """A cycle is named from where it begins, across suites; so is a rule that is not there."""
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
def test_what_is_no_file_of_rules_is_named(tmp_path, content, complaint):
    """No text, too deep, something else in place of a mapping."""
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "rules.yaml").write_bytes(content)
    with pytest.raises(spec.SpecError, match=r"rules\.yaml") as caught:
        spec.load(tmp_path)
    assert complaint in str(caught.value)


def test_what_does_not_block_comes_last(tmp_path):
    """A suite says for all of its rules whether they block; unless it says so they do."""
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
