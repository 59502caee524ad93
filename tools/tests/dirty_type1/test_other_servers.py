# SPDX-License-Identifier: GPL-2.0-only
"""Servers like those of other authors: what is right passes, and what is wrong breaks its own rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vfio_compliance.dirty_type1 import fixtures
from vfio_compliance.results import summary
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict

STYLED = str(Path(__file__).parents[1] / "servers/styled.py")
QUESTION = "pages written by DMA_WRITE messages"
IN_BITMAP, KNOWN = "in the server's bitmap", "known to the client alone"
LOST = "dirty.history.nothing-lost"

#: Rules that need information from the container, or requests that no server can get.
OUT_OF_REACH = {"dirty.bitmap.all-devices", "dirty.history.failed-query-keeps"}

Judge = Callable[..., Summary]


@pytest.fixture
def judge(
    judge_in_process: Callable[..., summary.Summary], project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Judge:
    """Judges the reference device on a server in these styles, by some cases of the rules that ``only`` selects."""
    monkeypatch.setattr(fixtures, "ROUNDS", 20)

    def run(*styles: str, only: str = "dirty", most: int = 6, whole: tuple[str, ...] = ()) -> Summary:
        document = yaml.safe_load((project / "profiles/reference.yaml").read_text())
        document["device"]["command"] = ["{python}", STYLED, "{socket}", *styles]
        path = tmp_path / "profile.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return judge_in_process(path, tmp_path, f"--only={only}", most=most, whole=whole)

    return run


def _others(result: Summary) -> dict[str, str]:
    """Rules that did not pass, except those out of reach."""
    return {
        rule: "; ".join(str(case.failure) for case in result.cases_of(rule) if case.failure)
        for rule, verdict in result.verdicts.items()
        if verdict is not Verdict.PASS and rule not in OUT_OF_REACH
    }


@pytest.mark.parametrize(
    ("styles", "answer"),
    [
        (("messages",), IN_BITMAP),
        (("messages", "forgets-messages"), KNOWN),
        (("both",), IN_BITMAP),
        (("both", "forgets-messages"), KNOWN),
        ((), None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_pages_written_by_messages(judge: Judge, styles: tuple[str, ...], answer: str | None) -> None:
    """In the bitmap or known to the client: both pass, also rounds that copy memory, and the report says which."""
    result = judge(*styles)
    assert _others(result) == {}
    assert result.observed.get(QUESTION, {}).keys() == ({answer} if answer else set())


@pytest.mark.parametrize("styles", [("forgets-mapped",), ("both", "forgets-mapped")], ids=" ".join)
def test_pages_known_to_neither_are_lost(judge: Judge, styles: tuple[str, ...]) -> None:
    """Pages that neither the client nor the bitmap knows break the rules of bitmaps and of copied memory."""
    result = judge(*styles, whole=("dirty.bitmap.written-is-set",))
    verdicts = result.verdicts
    for rule in ("dirty.bitmap.written-is-set", LOST, "dirty.history.never-a-false-clean"):
        assert verdicts[rule] is Verdict.FAIL
    (failed, *_) = (case for case in result.cases_of("dirty.bitmap.written-is-set") if case.failure)
    assert "seen reported clean: " in str(failed.failure)


def test_clean_pages_reported_dirty_still_fail(judge: Judge) -> None:
    """That the client knows better does not excuse the bitmap."""
    result = judge("messages", "--defect=bitmap-everything-dirty", only="dirty.bitmap.clean-is-clear")
    assert result.verdicts == {"dirty.bitmap.clean-is-clear": Verdict.FAIL}


@pytest.mark.parametrize("style", ["body", "echo", "no-errno", "busy"])
def test_tolerated_deviation_breaks_no_rule(judge: Judge, style: str) -> None:
    """All rules in reach pass."""
    assert _others(judge(style, most=3)) == {}


@pytest.mark.parametrize("styles", [("small", "plain"), ("plain",)], ids=" ".join)
def test_limited_server_breaks_no_rule(judge: Judge, styles: tuple[str, ...]) -> None:
    """Rules that it cannot express are not applicable."""
    result = judge(*styles, most=3)
    assert {rule for rule in _others(result) if result.verdicts[rule] is not Verdict.NOT_APPLICABLE} == set()


def test_server_without_migration_tracks_nothing(judge: Judge) -> None:
    """No rule about tracking is applicable, and the reason names the missing capability."""
    result = judge("no-migration", "plain", most=1)
    assert set(result.verdicts.values()) == {Verdict.NOT_APPLICABLE}
    reasons = {str(case.failure) for case in result.cases.values() if case.failure}
    assert any("has no `migration` capability: it offers no dirty page tracking" in reason for reason in reasons)
    assert not any("ENOTTY" in reason for reason in reasons)
