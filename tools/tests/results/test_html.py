# SPDX-License-Identifier: GPL-2.0-only
"""The HTML page of a run: complete, safe against hostile strings, and without anything from elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from hostile import HOSTILE, hostile_run
from pages import at, by_id, cells, links, pairs, part, text, tree
from stories import FINISH, RULE, case, ended, first, recorded, run_of, waiver

from vfio_compliance.results.events import End, Environment, Event, Plan, Programs, State, Target
from vfio_compliance.results.failure import Failure
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.setting import LeftOut, Register, UsedRegion
from vfio_compliance.results.writers import render
from vfio_compliance.results.writers.html.page import LONGEST, anchor, shown

REGION = UsedRegion(9, "v1", (Register("pending_bytes", 8, 8),))


def page(*events: Event, **run: Any) -> Element:
    """The page of a run of these events."""
    return tree(render("html", summarise(run_of(*events, **run))))


def row(root: Element, rule: str) -> list[str]:
    """The content of each cell of a rule's row."""
    return cells(by_id(root, anchor(rule)))


# -- what a page is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_device_cannot_add_elements(name: str) -> None:
    """Its strings are text: the page has no other elements than that of a device with a plain string."""
    found = tree(render("html", hostile_run(HOSTILE[name])))
    plain = tree(render("html", hostile_run("plain")))
    assert Counter(each.tag for each in found.iter("script")) == {"script": 1}
    known = {each.tag for each in plain.iter()} | {"br"}
    assert {each.tag for each in found.iter()} <= known
    assert not any(name.startswith("on") or name == "style" for each in found.iter() for name in each.attrib)


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_nothing_is_fetched(name: str) -> None:
    """The only addresses are links that a reader may follow; the policy forbids all else."""
    found = tree(render("html", hostile_run(HOSTILE[name])))
    assert not [each for each in found.iter() if each.get("src") or each.tag in ("link", "img", "iframe", "object")]
    assert {link[0] for link in links(found)} == {"#"}
    (policy,) = [each.get("content", "") for each in found.iter("meta") if each.get("http-equiv")]
    assert re.fullmatch(r"default-src 'none'; style-src 'sha256-[\w+/=]+'; script-src 'sha256-[\w+/=]+'", policy)
    assert "url(" not in text(at(found, ".//style"))


def test_ids_are_unique_and_links_lead_somewhere() -> None:
    """The ids of rules, failures and sections, in a run with one of each."""
    found = tree(render("html", hostile_run(HOSTILE["markup"])))
    ids = [each.get("id") for each in found.iter() if each.get("id")]
    assert len(ids) == len({*ids})
    targets = {link[1:] for link in links(found)}
    assert {each for each in targets if "=" not in each} <= {*ids}


@pytest.mark.parametrize("rule", ["rules", "a b", "v1..x", "v1.X", "v1.x\n", "", "x." * 5000, "v1.\ud800", "1.x"])
def test_a_rule_by_any_name_has_a_row(rule: str) -> None:
    """Its id is valid in an address, and differs from the page's own ids."""
    end = replace(ended("a", "fail"), case="c", rule=rule)
    records = recorded(first([replace(RULE, id=rule)], {"c": rule}), Plan((("c", rule),)), end, FINISH)
    found = tree(render("html", summarise(records)))
    assert re.fullmatch(r"rule-[0-9a-f]{16}", anchor(rule))
    assert by_id(found, anchor(rule)).get("data-verdict") == "fail"
    assert {*Counter(each.get("id") for each in found.iter() if each.get("id")).values()} == {1}


@pytest.mark.parametrize("rule", ["v1.one", "dirty.history.never-a-false-clean", "qemu.x2"])
def test_a_rule_has_its_name_as_address(rule: str) -> None:
    """It can be typed."""
    assert anchor(rule) == rule


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("two\nlines", "two\nlines"),
        ("\x1b[2J\r\t\0", r"\x1b[2J\r\t\x00"),
        ("\u202ea\ud800", r"\u202ea\ud800"),
        (None, ""),
        (7, 7),
        ("x" * LONGEST, "x" * LONGEST),
        ("\0" * LONGEST, r"\x00" * LONGEST),
        ("x" * 5_000_000, "x" * LONGEST + " ... (cut: 5,000,000 characters in all)"),
    ],
    ids=lambda value: str(value)[:12].encode("unicode_escape").decode(),
)
def test_shown_values(value: str | int | None, expected: str | int) -> None:
    """Control characters are visible, and a long text is cut with its length."""
    assert shown(value) == expected


# -- the top ----------------------------------------------------------------------------------------------------------


def test_the_top_identifies_the_run() -> None:
    """Verdict, plan, and the facts that a dispute would begin with."""
    facts = {
        "suite": "0.1.0",
        "suite commit": "0123456789abcdef",
        "suite modified": "yes",
        "rule set": "2",
        "kernel version": "#1 SMP",
        "driver srcversion": "ABCDEF",
        "device fw_version": "7.1",
    }
    found = page(
        Environment(facts, {}, (), "/"),
        ended("a", "fail", seen="2"),
        ended("b", "pass"),
        device={"vendor": "Maker", "product": "Card", "driver": "drv"},
        kernel="Linux 6.12",
    )
    banner = at(found, ".//header")
    assert text(banner.find("h1")) == "NOT CONFORMANT"
    assert "1 rule broken" in text(banner)
    assert "By plan default" in text(banner)
    known = dict(pairs(banner))
    assert known.pop("Duration").startswith("5.0 s")
    assert known == {
        "Device": "Maker Card",
        "Driver": "drv",
        "Module srcversion": "ABCDEF",
        "Firmware": "7.1 (fw_version)",
        "Kernel": "Linux 6.12 #1 SMP",
        "Profile": f"p.yaml, sha256 {'0' * 64}",
        "Suite": "vfio-compliance 0, commit 0123456789ab, modified",
        "Rule set": "version 2",
        "Date": "2027-01-15 08:00 UTC",
    }


@pytest.mark.parametrize(
    ("events", "word", "kind"),
    [
        ([ended("a", "pass")], "CONFORMANT", "good"),
        ([ended("a", "fail")], "NOT CONFORMANT", "bad"),
        ([ended("a", "not-run")], "INCOMPLETE", "unclear"),
        ([], "NOTHING JUDGED", "unclear"),
    ],
)
def test_the_verdict(events: Sequence[End], word: str, kind: str) -> None:
    """In a word, and by its colour."""
    banner = at(page(*events), ".//header")
    assert text(banner.find("h1")) == word
    assert banner.get("class") == f"banner verdict-is-{kind}"


def test_a_run_with_waivers_is_not_shown_as_good() -> None:
    """The banner shows the waivers."""
    banner = at(page(ended("a", "fail"), ended("b", "pass"), waivers=[waiver(rule="v1.a")]), ".//header")
    assert (text(banner.find("h1")), banner.get("class")) == (
        "CONFORMANT WITH WAIVERS (1)",
        "banner verdict-is-unclear",
    )


# -- rules and failures -----------------------------------------------------------------------------------------------


def test_table_of_rules() -> None:
    """Each rule has a row, with the attributes that the filters use, and its cases."""
    found = page(
        ended("a[1]", "pass"),
        ended("a[2]", "fail"),
        ended("b", "pass"),
        rules={"v1.b": {"level": "should", "clause": "Q-02", "says": "It is quiet."}},
    )
    assert [each.get("id") for each in part(found, "rules").iter("tr") if each.get("id")] == ["v1.a", "v1.b"]
    first_row, second = by_id(found, "v1.a"), by_id(found, "v1.b")
    assert [first_row.get(f"data-{name}") for name in ("area", "level", "verdict")] == ["Device state", "must", "fail"]
    assert [second.get(f"data-{name}") for name in ("area", "level", "verdict")] == ["Works with Q", "should", "pass"]
    assert row(found, "v1.a")[0] == "✗ fail why"
    assert row(found, "v1.a")[4] == "1 of 2"
    assert row(found, "v1.b")[2].startswith("It is quiet.")
    assert [text(each) for each in first_row.iter("li")] == [
        "a[1] pass, 0.100 s, 45 calls",
        "a[2] fail, 0.100 s, 45 calls",
    ]


def test_a_failure_has_all_that_the_terminal_has() -> None:
    """Rule, clause, what was done and seen, the calls with the failing one marked, and how to reproduce it."""
    end = replace(ended("a[1]", "fail", expected="1", seen="2"), failed_call=7)
    programs = Programs(case("a[1]"), ("repro/a.c",), True, "2 calls left")
    found = page(Target({}, (REGION,)), end, ended("a[2]", "fail", expected="1", seen="3"), programs)
    article = by_id(found, "failure-1")
    assert text(article.find("h3")) == "1. v1.a ✗ fail"
    known = dict(pairs(article))
    assert known["rule"] == RULE.says
    assert known["clause"] == "DS-01 (must, documented), text, line 1"
    assert (known["did"], known["expected"], known["seen"]) == ("doing it", "1", "2")
    assert known["rerun"] == f"vfio-compliance run p.yaml --only '{case('a[1]')}'"
    assert known["program"] == "repro/a.c2 calls left"
    (shows,) = [each for each in article.iter("li") if each.get("class") == "shows"][:1]
    assert text(shows) == "shows it 7 read pending_bytes -> 0x1 (3 times) [12 us]"
    assert "2: 3" in [text(each) for each in article.iter("li")]


def test_a_failure_names_its_cause() -> None:
    """A rule that depends on a failed one comes after it, and links to it."""
    found = page(ended("a", "fail"), ended("b", "fail"), rules={"v1.a": {"stands_on": ("v1.b",)}})
    assert text(by_id(found, "failure-1").find("h3")) == "1. v1.b ✗ fail"
    cause = next(each for each in by_id(found, "failure-2").iter("p") if each.get("class") == "cause")
    assert text(cause) == "Stands on v1.b, which failed: see 1."
    assert [each.get("href") for each in cause.iter("a")] == ["#v1.b", "#failure-1"]


def test_without_failures() -> None:
    """The page says so, instead of showing an empty list."""
    assert text(part(page(ended("a", "pass")), "failures")) == "Failures None."


def test_with_a_thousand_failures() -> None:
    """A hundred are shown in full, the others on a line each, and each rule is in the table."""
    found = page(*(ended(f"r{number}", "fail", seen="x" * 3000) for number in range(1000)))
    articles = [each for each in found.iter("article") if each.get("class") == "failure"]
    assert len(articles) == 100
    assert len([each for each in found.iter("li") if (each.get("id") or "").startswith("failure-")]) == 900
    assert len([each for each in found.iter("tr") if (each.get("id") or "").startswith("v1.r")]) == 1000
    assert "(cut: " in text(articles[0])


def test_with_a_thousand_cases_of_a_rule() -> None:
    """Some are listed; the others are counted."""
    found = page(*(ended(f"a[{number}]", "pass") for number in range(1000)))
    listed = [text(each) for each in by_id(found, "v1.a").iter("li")]
    assert len(listed) == 501
    assert listed[-1] == "and 500 more cases"


# -- other sections ---------------------------------------------------------------------------------------------------


def test_interrupted() -> None:
    """The page has what was judged and why the run ended; the remaining rules are not judged."""
    records = run_of(ended("a", "pass"), planned=("b",))[:-1]
    found = tree(render("html", summarise(records)))
    assert text(found.find(".//h1")) == "INCOMPLETE"
    why = "Stopped: the journal ends before the run did. Remedy: continue with run --resume"
    assert why in text(part(found, "happened"))
    assert row(found, "v1.b")[0] == "○ not-run"
    assert dict(pairs(part(found, "not-judged")))["because"] == "the run ended before"


def test_what_the_profile_lacks() -> None:
    """The missing key, and what to do."""
    found = page(ended("a", "not-run", wants="stimulus.fault"))
    known = dict(pairs(part(found, "not-judged")))
    assert known["key"] == "stimulus.fault"
    assert known["remedy"].startswith("add it to p.yaml")
    assert known["rules"] == "v1.a"


def test_what_the_plan_leaves_out() -> None:
    """With the reason and the rules."""
    run = first([RULE], {})
    plan = replace(run.plan, left_out=(LeftOut("v1.b", "fused off"),))
    found = page(ended("a", "pass"), rules={"v1.b": {}}, plan=plan)
    assert "Left out by plan default: 1 rule" in text(part(found, "not-judged"))
    assert dict(pairs(part(found, "not-judged")))["because"] == "fused off"


def test_what_the_specification_leaves_open() -> None:
    """Each question, with each answer and its count."""
    ends = [replace(ended(f"a[{number}]", "pass"), observed={"asked": answer}) for number, answer in enumerate("xxy")]
    found = page(*ends, State("a state", "yes", "it ran", ("driver: b",)))
    silent = part(found, "silent")
    head, *rows = [cells(each) for each in silent.iter("tr")]
    assert (head, rows) == (["Question", "Answer", "Times"], [["asked", "x", "2"], ["y", "1"]])
    assert "a state: yes. it ran; another driver: b" in text(silent)


def test_waivers() -> None:
    """All fields of each waiver, and its effect; only a web address becomes a link."""
    waivers = [
        waiver(rule="v1.a", link="https://bugs.example/1", owner="Somebody"),
        waiver(rule="v1.b", link="javascript:alert(1)", sometimes=True),
    ]
    section = part(page(ended("a", "fail"), ended("b", "pass"), waivers=waivers), "waivers")
    assert "Waived in 1 of 1 case." in text(section)
    assert "Not used, because the rule held in the cases that were judged." in text(section)
    assert ("owner", "Somebody") in pairs(section)
    found = links(section)
    assert "https://bugs.example/1" in found
    assert not any(each.startswith("javascript") for each in found)


def test_environment() -> None:
    """All facts are listed, by name."""
    section = part(page(Environment({"kernel config": "ab<c"}, {}, (), "/"), ended("a", "pass")), "environment")
    assert ["kernel config", "ab<c"] in [cells(each) for each in section.iter("tr")]


def test_a_failure_of_the_suite_is_apart() -> None:
    """It says nothing about the device."""
    found = page(ended("a", "fail"), ended("b", "pass"), rules={"v1.a": {"side": "client"}})
    assert "the suite itself: it says nothing about the device" in text(by_id(found, "failure-1"))
    assert by_id(found, "v1.a").get("data-area") == "The suite itself"


def test_a_traceback_keeps_its_lines() -> None:
    """Including blank ones."""
    why = Failure("doing it", traceback="one\n\n  two")
    found = page(replace(ended("a", "broken"), failure=why))
    assert "one\n\n  two" in [each.text for each in by_id(found, "failure-1").iter("pre")]
