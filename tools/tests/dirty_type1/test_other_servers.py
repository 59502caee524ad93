# SPDX-License-Identifier: GPL-2.0-only
"""Servers of other authors: what is right about them passes, what is wrong is a break, each at its rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vfio_compliance.dirty_type1 import fixtures
from vfio_compliance.results import summary
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict

HERE = Path(__file__).parent
QUESTION = "pages written by DMA_WRITE messages"
IN_BITMAP, KNOWN = "in the server's bitmap", "known to the client alone"
LOST = "dirty.history.nothing-lost"

#: Rules that need the container to say something, or what no server can be asked.
BESIDE = {"dirty.bitmap.all-devices", "dirty.history.failed-query-keeps"}

Judge = Callable[..., Summary]


@pytest.fixture
def judge(
    judge_in_process: Callable[..., summary.Summary], project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Judge:
    """Judges the reference device on such a server by some cases of the rules whose ids begin so."""
    monkeypatch.setattr(fixtures, "ROUNDS", 20)

    def run(*ways: str, only: str = "dirty", most: int = 6, whole: tuple[str, ...] = ()) -> Summary:
        document = yaml.safe_load((project / "profiles/reference.yaml").read_text())
        document["device"]["command"] = ["{python}", str(HERE / "other_server.py"), "{socket}", *ways]
        path = tmp_path / "profile.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return judge_in_process(path, tmp_path, f"--only={only}", most=most, whole=whole)

    return run


def _others(result: Summary) -> dict[str, str]:
    """Rules that neither passed nor are out of reach."""
    return {
        rule: "; ".join(str(case.failure) for case in result.cases_of(rule) if case.failure)
        for rule, verdict in result.verdicts.items()
        if verdict is not Verdict.PASS and rule not in BESIDE
    }


@pytest.mark.parametrize(
    ("ways", "answer"),
    [
        (("messages",), IN_BITMAP),
        (("messages", "forgets-messages"), KNOWN),
        (("both",), IN_BITMAP),
        (("both", "forgets-messages"), KNOWN),
        ((), None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_pages_written_by_messages(judge: Judge, ways: tuple[str, ...], answer: str | None) -> None:
    """In the bitmap or known to the client: both pass, rounds that copy memory too, and the answer is told."""
    result = judge(*ways)
    assert _others(result) == {}
    assert result.observed.get(QUESTION, {}).keys() == ({answer} if answer else set())


@pytest.mark.parametrize("ways", [("forgets-mapped",), ("both", "forgets-mapped")], ids=" ".join)
def test_pages_in_neither_are_lost(judge: Judge, ways: tuple[str, ...]) -> None:
    """What the device wrote by itself, past both client and bitmap, is a break, by words and by rounds."""
    result = judge(*ways, whole=("dirty.bitmap.written-is-set",))
    verdicts = result.verdicts
    for rule in ("dirty.bitmap.written-is-set", LOST, "dirty.history.never-a-false-clean"):
        assert verdicts[rule] is Verdict.FAIL
    (said, *_) = (case for case in result.cases_of("dirty.bitmap.written-is-set") if case.failure)
    assert "seen reported clean: " in str(said.failure)


def test_clean_pages_reported_dirty_still_fail(judge: Judge) -> None:
    """A client that knows better excuses no bitmap."""
    result = judge("messages", "--defect=bitmap-everything-dirty", only="dirty.bitmap.clean-is-clear")
    assert result.verdicts == {"dirty.bitmap.clean-is-clear": Verdict.FAIL}


@pytest.mark.parametrize("way", ["body", "echo", "no-errno", "busy", "small", "plain"])
def test_what_a_client_puts_up_with_breaks_no_rule(judge: Judge, way: str) -> None:
    """Nor is anything left unjudged that could be."""
    result = judge(way, *(("plain",) if way == "small" else ()), most=3)
    assert {rule for rule in _others(result) if result.verdicts[rule] is not Verdict.NOT_APPLICABLE} == set()
    if way not in ("small", "plain"):
        assert _others(result) == {}


def test_a_server_without_migration_tracks_nothing(judge: Judge) -> None:
    """Every rule about tracking is not applicable, and says why in the server's own terms."""
    result = judge("no-migration", "plain", most=1)
    assert set(result.verdicts.values()) == {Verdict.NOT_APPLICABLE}
    reasons = {str(case.failure) for case in result.cases.values() if case.failure}
    assert any("has no `migration` capability: it offers no dirty page tracking" in reason for reason in reasons)
    assert not any("ENOTTY" in reason for reason in reasons)
