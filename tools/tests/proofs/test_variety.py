# SPDX-License-Identifier: GPL-2.0-only
"""Devices that differ as much as the specification allows, and keep all rules: each passes, or says why it is n/a.

A failure here is a false alarm: a rule that demands what the specification does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import yaml

from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict

V1, QEMU, DIRTY = "v1", "qemu", "dirty"

STATES = ("running", "pre-copy", "stop-and-copy", "stop", "resuming")
DRAWN = {
    ("running", "stop"),
    ("running", "stop-and-copy"),
    ("running", "pre-copy"),
    ("pre-copy", "stop-and-copy"),
    ("stop-and-copy", "stop"),
    ("running", "resuming"),
    ("resuming", "running"),
}
UNDRAWN = [f"{old} -> {new}" for old in STATES for new in STATES if old != new and (old, new) not in DRAWN]
SELF_WRITES = [f"{state} -> {state}" for state in STATES]

#: Such a device has only registers that can be seen.
REGISTERS_ALONE = {
    "set": [{"write": {"region": 0, "offset": 0x28, "width": 8, "value": "$value"}}],
    "observe": [{"read": {"region": 0, "offset": 0x28, "width": 8}}],
}


#: The whole stimulus.
FAULTS = ("save_fault", "resume_fault", "error", "refusal")
EVERYTHING = ("running", "dma", "interrupts", "dirty", "visible_state", "work", *FAULTS)

#: Why rules may be n/a to every server.
ALWAYS = ("each vfio-user server has a container of its own", "a bad pointer cannot be passed over this transport")

#: Why rules may be n/a to some.
TOO_LARGE = ("mapping 4299161600 bytes",)
NOT_MAPPED = ("the data is not in a mappable area", "no data was in a mappable area")
ONE_BUFFER = ("the state came in a single buffer",)
UNCLAIMED = ("the profile does not claim",)
NO_STIMULUS = ("the profile says that the device has no stimulus",)


class Kind(NamedTuple):
    """How one device is started, what its profile claims and can do, and by which rules it is judged."""

    options: str
    #: None: nothing is claimed.
    claims: Mapping[str, Any] = MappingProxyType({})
    #: Beginnings of the rules' names.
    rules: tuple[str, ...] = (V1, QEMU)
    #: Keys of the profile's stimulus: another value; "none" for a device that cannot do this, None to leave it out.
    stimulus: Mapping[str, Any] = MappingProxyType({})
    #: The most cases of a rule that are tried without --complete.
    cases: int = 12
    #: Why rules may be n/a to it: beginnings of the reasons.
    silence: tuple[str, ...] = ()
    #: Keys that the profile lacks: rules that need them are not run.
    wanting: frozenset[str] = frozenset()


TRAPPED = {"data_section": "trapped"}
PARTITIONED = {"data_section": "partitioned"}

KINDS = {
    # Where the data is.
    "trapped, right after the registers": Kind("--data-section=trapped --section-at=32", TRAPPED, silence=NOT_MAPPED),
    "trapped, at odd places": Kind(
        "--data-section=trapped --section-at=1000 --section=30000 --offset=last", TRAPPED, silence=NOT_MAPPED
    ),
    "partitioned": Kind("--data-section=partitioned", PARTITIONED),
    "a moving buffer across the partition's end": Kind(
        "--data-section=partitioned --section=65536 --buffer=40960 --offset=moving", PARTITIONED
    ),
    "many areas, a gap before them": Kind(
        "--data-section=scattered --section=262144 --section-at=65536 --offset=moving --buffers=mixed", PARTITIONED
    ),
    "moving offsets": Kind("--section=65536 --buffer=8192 --offset=moving"),
    "in the middle of a large section": Kind("--section=268435456 --offset=middle"),
    "above 4 GiB, at the very end": Kind("--section-at=8589934592 --section=65536 --offset=last"),
    "40 bytes of data": Kind(
        "--data-section=trapped --section=40 --section-at=32 --memory=0",
        TRAPPED | {"precopy_data": False},
        stimulus={"visible_state": REGISTERS_ALONE},
        silence=(*NOT_MAPPED, "the device offers no data", "the device offers no such buffer"),
    ),
    "one buffer": Kind("--section=1048576 --buffer=1048576", silence=ONE_BUFFER),
    "larger than the region by far": Kind(
        "--memory=2097152 --buffer=16384", cases=6, wanting=frozenset({"limits.passes"})
    ),
    # When data comes, and how it is counted.
    "tiny buffers, estimates too low": Kind(
        "--buffer=512 --data-section=trapped --pending=one", TRAPPED, cases=6, silence=NOT_MAPPED
    ),
    "buffers of all sizes, estimates too high": Kind("--buffers=mixed --pending=over"),
    "no data before stop-and-copy": Kind("--pre-copy=none", {"precopy_data": False}),
    "data without end in pre-copy, growing": Kind("--pre-copy=endless --pending=growing"),
    "none, then more in pre-copy, never the same": Kind("--pre-copy=bursts --pending=drifting --buffers=mixed"),
    "the same bytes each time": Kind("--quiet=yes --buffers=mixed", {"repeatable_state": True}),
    "the newer layout of the state": Kind("--driver-version=1.1 --buffers=mixed"),
    # What is refused, and how.
    "no transition that is not drawn": Kind(
        "--undrawn=refuse --self-writes=refuse", {"transitions": []}, rules=(V1,), silence=UNCLAIMED
    ),
    "present states refused, reserved bits kept": Kind(
        "--self-writes=refuse --reserved-bits=keep", {"transitions": UNDRAWN}, rules=(V1,)
    ),
    "everything refused, into the error state": Kind(
        "--undrawn=refuse --self-writes=refuse --reserved-bits=refuse --read-only=refuse --after-failure=error",
        {"transitions": []},
        rules=(V1,),
        stimulus={"refusal": "none"},  # it leads to the error state as well
        silence=(*UNCLAIMED, *NO_STIMULUS, "the device reports the error state after it"),
    ),
    "everything undefined refused": Kind("--undefined=refuse --read-only=refuse --errno=61"),
    "an errno that no user knows": Kind("--errno=524 --read-only=refuse --restart=refuse", rules=(V1, DIRTY)),
    "EAGAIN always": Kind("--errno=11 --undefined=refuse --bad-data=fail", rules=(V1, QEMU, DIRTY)),
    "bad data dropped at the end": Kind("--bad-data=drop", rules=(V1,)),
    "bad data an error at the end": Kind("--bad-data=fail"),
    # How the device looks.
    "other regions before and after": Kind("--regions=crowded --capabilities=mixed"),
    "a platform device": Kind(
        "--regions=bare --data-section=trapped", TRAPPED, stimulus={"interrupts": {"index": 0}}, silence=NOT_MAPPED
    ),
    "the last of many regions": Kind("--regions=far --capabilities=mixed --data-section=scattered", PARTITIONED),
    "short messages": Kind("--largest-transfer=4096 --section=65536 --buffer=65536"),
    # How it runs.
    "slow buffers": Kind("--slow=2000"),
    "slow in everything": Kind("--slow-access=300 --slow-reset=2000 --slow-transition=2000", cases=4),
    "a reset that keeps the visible state": Kind("--reset=keep"),
    "no DMA and no faults": Kind(
        "",
        stimulus=dict.fromkeys(("dma", "dirty", "work", *FAULTS), "none"),
        silence=NO_STIMULUS,
    ),
    "a profile without stimulus": Kind(
        "",
        stimulus=dict.fromkeys(EVERYTHING),
        wanting=frozenset(f"stimulus.{key}" for key in EVERYTHING if key != DIRTY),
    ),
    # The container.
    "everything dirty": Kind(
        "--dirty-scope=everything", {"dirty_scope": "everything"}, (DIRTY, QEMU), silence=("the profile claims",)
    ),
    "dirty forever": Kind(
        "--dirty-scope=sticky", {"dirty_scope": None}, (DIRTY, QEMU), wanting=frozenset({"claims.dirty_scope"})
    ),
    "only whole mappings, repeats refused": Kind("--ranges=whole --restart=refuse", rules=(DIRTY,)),
    "no holes, unmapping across": Kind(
        "--ranges=mapped --unmapping=across", rules=(DIRTY, QEMU), silence=("a range with unmapped pages",)
    ),
    "small bitmaps, a chain in disorder": Kind(
        "--largest-bitmap=4096 --capabilities=mixed --iova=pc", rules=(DIRTY, QEMU), silence=TOO_LARGE
    ),
    "capabilities at odd places": Kind("--capabilities=odd", rules=(DIRTY, QEMU)),
    "no IOVA range reported, nothing pinned": Kind(
        "--iova=none --regions=crowded", rules=(DIRTY, QEMU), stimulus={"dirty": {"pin": "none", "unpin": "none"}}
    ),
    "a device without DMA": Kind(
        "--unmapping=across",
        rules=(DIRTY,),
        stimulus={"dma": None, "dirty": None},
        wanting=frozenset({"stimulus.dma", "stimulus.dirty"}),
    ),
}


def changed(values: Any, changes: Any) -> Any:
    """``values`` with ``changes`` applied; a key whose change is None is left out."""
    if not isinstance(changes, Mapping) or not isinstance(values, Mapping):
        return changes
    merged = {**values, **{key: changed(values.get(key), change) for key, change in changes.items()}}
    return {key: value for key, value in merged.items() if value is not None}


@pytest.fixture
def profile(project: Path, tmp_path: Path, name: str) -> Path:
    """The profile of the device of this name."""
    kind = KINDS[name]
    document = yaml.safe_load((project / "profiles/reference.yaml").read_text())
    document["device"]["command"] += kind.options.split()
    document["limits"] |= {"largest_state": "8MiB", "test": "12s"}
    if DIRTY not in kind.rules:
        document["interfaces"].remove("dirty_type1")
    document |= {part: changed(document[part], getattr(kind, part)) for part in ("claims", "stimulus")}
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


#: The devices that differ most under random operations.
EXPLORED = (
    "many areas, a gap before them",
    "none, then more in pre-copy, never the same",
    "everything refused, into the error state",
    "everything undefined refused",
    "bad data dropped at the end",
    "everything dirty",
    "dirty forever",
    "only whole mappings, repeats refused",
    "no holes, unmapping across",
)


@pytest.mark.proof
@pytest.mark.parametrize("name", EXPLORED)
def test_exploring_raises_no_false_alarm(
    judge_in_process: Callable[..., Summary], profile: Path, tmp_path: Path, name: str
) -> None:
    """The model of the specification accepts all answers of devices that differ."""
    result = judge_in_process(profile, tmp_path, "--stress=8s", "--seed=1")
    assert {rule.id for rule in result.rules.values() if rule.on_request} == set(result.verdicts)
    assert set(result.verdicts.values()) == {Verdict.PASS}, [case.failure for case in result.cases.values()]


@pytest.mark.proof
@pytest.mark.parametrize("name", KINDS)
def test_rules_raise_no_false_alarm(
    judge_in_process: Callable[..., Summary],
    profile: Path,
    pytestconfig: pytest.Config,
    tmp_path: Path,
    count: Callable[..., None],
    report_line: Callable[[str], None],
    name: str,
) -> None:
    """No rule is broken or left unjudged, except for want of a key; no large state is read in vain."""
    kind = KINDS[name]
    most = None if pytestconfig.getoption("--complete") else kind.cases
    result = judge_in_process(profile, tmp_path, *(f"--only={rules}" for rules in kind.rules), most=most)

    silent = [rule for rule, verdict in result.verdicts.items() if verdict is Verdict.NOT_APPLICABLE]
    alarms = {rule: result.verdicts[rule] for rule in result.verdicts if result.verdicts[rule] is not Verdict.PASS}
    wanting = {rule for rule, verdict in alarms.items() if verdict is Verdict.NOT_RUN and kind.wanting}
    for rule in {*silent, *wanting}:
        del alarms[rule]
    assert not alarms
    assert result.exit_code == (2 if wanting else 0)
    unjudged = [case for rule in wanting for case in result.cases_of(rule) if case.verdict is Verdict.NOT_RUN]
    failures = [case.failure for case in unjudged if case.failure]
    assert len(failures) == len(unjudged)
    assert {failure.wants or failure.what for failure in failures} == kind.wanting
    if "limits.passes" in kind.wanting:
        assert result.totals["passes"] <= 4
    reasons = {case.failure.what for rule in silent for case in result.cases_of(rule) if case.failure}
    unexpected = {reason for reason in reasons if not reason.startswith((*ALWAYS, *kind.silence))}
    assert not unexpected
    count(
        kinds_of_devices=1,
        rules_judged_without_alarm=len(result.verdicts) - len(silent),
        cases_judged_on_them=sum(case.verdict is Verdict.PASS for case in result.cases.values()),
        rules_not_applicable_to_them=len(silent),
    )
    if silent and kind.silence:
        report_line(f"n/a to {name!r}: {len(silent)} rules, because {'; '.join(sorted(reasons))}")
