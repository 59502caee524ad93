# SPDX-License-Identifier: GPL-2.0-only
"""Servers that misbehave: the run ends with a message, the right verdict and the right exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.bad_input.conftest import Run

READ_ONLY = "v1.pending.read-only"
ANNOUNCED = "v1.region.announced"
INSIDE = "v1.layout.area-inside-region"
IN_SECTION = "v1.layout.buffer-in-section"
ENDS = "v1.saving.ends"

BIG = 1 << 63
ALL_ONES = (1 << 32) - 1


def test_good_server(run: Run) -> None:
    """Without a trick the server is the reference driver."""
    finished = run()
    assert finished.verdicts == {READ_ONLY: "pass"}
    assert finished.code == 0


@pytest.mark.parametrize(
    ("trick", "words"),
    [
        ("VERSION:die=3", "exited with status 3"),
        ("VERSION:error=22", "refused version 0.0 of the protocol: Invalid argument"),
        (r"VERSION:body=\0\0\0\0{garbage\0", "expected JSON, got b'{garbage"),
        ("VERSION:claim=2147483648", "got 2147483648"),
        ("DEVICE_GET_REGION_INFO#3:die=7", "DEVICE_GET_REGION_INFO of index 2: the server closed the connection"),
        ("DEVICE_GET_REGION_INFO:wrong-id", "expected id 3, got id 4"),
        ("region-info-9:put=0,4,4294967295", "expected an argsz from 32"),
    ],
)
def test_opening_fails(judge: Run, trick: str, words: str) -> None:
    """If the device cannot be opened or describe itself, the run ends with one reason."""
    finished = judge(trick)
    assert finished.code == (1 if "die" in trick else 2)  # the end of a server is held against it
    assert finished.verdicts == {READ_ONLY: "not-run"}
    assert len(finished.result.stops) == 1
    assert words in finished.words


def test_opening_hangs(judge: Run) -> None:
    """A device that does not answer while it is opened counts as hanging."""
    finished = judge("VERSION:hang", limits={"call": "500ms"})
    assert finished.code == 3
    assert "VERSION: no answer within 0.5 s" in finished.words


@pytest.mark.parametrize(
    ("rule", "trick", "words"),
    [
        (ANNOUNCED, "DEVICE_GET_INFO:error=5", "expected success seen EIO"),
        (ANNOUNCED, f"DEVICE_GET_INFO:put=8,4,{ALL_ONES}", "at most 4096 regions"),
        (ANNOUNCED, "region-info-9:put=36,4,32", "a link back to offset 32"),
        (ANNOUNCED, "region-info-9:put=36,4,4096", "a link to offset 4096"),
        (ANNOUNCED, "region-info-9:put=12,4,8", "a link to offset 8"),
        (ANNOUNCED, "--defect=region-subtype-zero", "region 9: type 3, subtype 0"),
        (INSIDE, f"region-info-9:put=56,4,{ALL_ONES}", f"nr_areas {ALL_ONES}"),
        ("v1.layout.section-as-claimed", f"region-info-9:put=16,8,{BIG}", "partitioned"),
        ("v1.saving.buffer-not-empty", f"pending_bytes:put=16,8,{BIG}", "data_size while bytes are pending"),
        (IN_SECTION, f"data_size:put=16,8,{BIG}", "a buffer inside"),
        (IN_SECTION, f"data_offset:put=16,8,{BIG}", "a buffer inside"),
        (IN_SECTION, "data_offset:put=16,8,16", "a buffer inside"),
        ("v1.layout.offset-past-header", "data_offset:put=16,8,16", "0x10"),
    ],
)
def test_absurd_answers(judge: Run, rule: str, trick: str, words: str) -> None:
    """Impossible numbers are reported, not followed."""
    finished = judge(trick, only=rule)
    assert finished.verdicts == {rule: "fail"}
    assert words in finished.words
    assert finished.code == 1


@pytest.mark.parametrize(
    ("rule", "trick"),
    [
        ("v1.data-offset.read-only", f"data_offset:put=16,8,{2 * BIG - 8}"),
        ("v1.header.starts-region", "region-info-9:put=16,8,0"),
        (ANNOUNCED, f"region-info-9:put=0,4,{1 << 20}"),
    ],
)
def test_absurd_answers_that_a_rule_does_not_use(judge: Run, rule: str, trick: str) -> None:
    """A rule that does not depend on the number is judged nevertheless."""
    assert judge(trick, only=rule).verdicts == {rule: "pass"}


@pytest.mark.parametrize(
    ("trick", "rule"),
    [(f"data_size:put=16,8,{BIG >> 1}", ENDS), (f"data_size:put=16,8,{2 * BIG - 1}", IN_SECTION)],
    ids=["huge", "endless"],
)
def test_absurd_buffer_in_an_absurd_region(judge: Run, trick: str, rule: str) -> None:
    """If a region claims to be larger than any memory, the suite does not allocate as much."""
    finished = judge(trick, f"region-info-9:put=16,8,{BIG}", only=rule)
    assert finished.verdicts == {rule: "fail"}


@pytest.mark.parametrize(
    ("trick", "words"),
    [
        ("pending_bytes#2:die=9", "exited with status 9"),
        ("pending_bytes#2:wrong-id", "expected id"),
        ("pending_bytes#2:cut=2", "8 bytes of data as its count says, got 6"),
        ("pending_bytes#2:claim=4294967295", "got 4294967295"),
        ("pending_bytes#2:error=5", "EIO"),
    ],
)
def test_one_bad_message(judge: Run, trick: str, words: str) -> None:
    """A bad message during a test is held against the rule."""
    finished = judge(trick)
    assert finished.verdicts == {READ_ONLY: "fail"}
    assert words in finished.words
    assert finished.code == 1


def test_no_migration_region(run: Run) -> None:
    """If no region announces itself, one rule is broken and the others are not run, for one reason."""
    finished = run("--defect=region-type-missing", only="v1.region", options=("--only=v1.reserved", "--only=v1.macro"))
    macros = dict.fromkeys(("v1.macro.valid", "v1.macro.is-error", "v1.macro.set-error"), "pass")
    reserved = dict.fromkeys(("v1.reserved.reads-zero", "v1.reserved.ignores-writes"), "not-run")
    assert finished.verdicts == {ANNOUNCED: "fail"} | macros | reserved
    assert finished.text.count("Not judged:") == 1
    assert finished.code == 1


def test_reset_that_kills_the_server(judge: Run) -> None:
    """The server is restarted before the test; its death is held against the run, not against the rule."""
    finished = judge("DEVICE_RESET#1:die=11")
    assert finished.verdicts == {READ_ONLY: "pass"}
    assert "not-run" not in finished.cases
    assert "exited with status 11" in finished.words
    assert finished.code == 1


def test_server_that_cannot_be_restarted(run: Run) -> None:
    """If the server does not start again, the run ends."""
    finished = run("pending_bytes#2:die-for-good")
    assert finished.cases == ["fail", "broken", *["not-run"] * 4]
    assert "the device cannot be opened again: the server ended before it listened" in finished.words
    assert "exited with status 4" in finished.words
    assert finished.code == 1


def test_reset_that_hangs_repeatedly(judge: Run) -> None:
    """After a reset has hung three times, it is left out of the set-up; all cases are judged without it."""
    finished = judge("DEVICE_RESET:hang", only="v1.state.reserved-bits", limits={"call": "2s"})
    assert finished.cases == ["pass"] * 30
    assert finished.code == 3
    assert "the device is no longer reset before a case" in finished.words


def test_rule_that_hangs_repeatedly(run: Run) -> None:
    """After three hangs of a rule, its other cases are not run; those of other rules are."""
    finished = run(
        "pending_bytes:hang", only=READ_ONLY, options=("--only=v1.reserved.reads-zero",), limits={"call": "500ms"}
    )
    assert finished.verdicts == {READ_ONLY: "hang", "v1.reserved.reads-zero": "pass"}
    assert sorted(finished.cases) == ["hang"] * 3 + ["not-run"] * 3 + ["pass"] * 5
    assert "3 cases of this rule hung" in finished.words
    assert finished.code == 3


def test_hang_before_a_clean_up_that_fails(judge: Run) -> None:
    """Memory that can no longer be unmapped does not hide the hang."""
    case = "test_dma_stopped_before_return[running -> stop]"
    finished = judge("device_state#4:hang", only=case, limits={"call": "2s"})
    assert finished.cases == ["hang"]
    assert finished.code == 3


def test_saving_without_end(judge: Run) -> None:
    """A driver that offers the same byte forever breaks the rule that saving ends."""
    finished = judge(
        f"pending_bytes:put=16,8,{BIG}", "data_size:put=16,8,1", only=ENDS, limits={"test": "3s", "call": "3s"}
    )
    assert finished.verdicts == {ENDS: "fail"}
    assert "the same buffer" in finished.words
    assert finished.code == 1


def test_server_that_ignores_sigterm(judge: Run) -> None:
    """It is killed, and the run passes."""
    assert judge("--stubborn").code == 0
