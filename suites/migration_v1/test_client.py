# SPDX-License-Identifier: GPL-2.0-only
"""What the text asks of a user program, judged on the suite's own traffic."""

from __future__ import annotations

import pytest

from vfio_compliance import checks
from vfio_compliance.model.client_v1 import judge
from vfio_compliance.uapi.migration_v1 import DEVICE_STATE, DeviceState

RUNNING, STOP = DeviceState.RUNNING, DeviceState.STOP
PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY
RESUMING, ERROR = DeviceState.RESUMING, DeviceState.ERROR


def traffic(device, migration, least):
    """What this test's client did; at least ``least`` writes of device_state, or there was nothing to judge."""
    accesses = list(migration.accesses(device.transport.tracer.calls))
    writes = [access for access in accesses if access.verb == "write" and access.register == DEVICE_STATE.name]
    if len(writes) < least:
        raise checks.Unjudged(f"{len(writes)} writes of device_state were made, {least} are needed to judge")
    return accesses


def judge_clause(accesses, clause):
    """The client did not offend against ``clause``."""
    for offence in judge(accesses):
        if offence.clause == clause:
            checks.broken(
                f"judging access {offence.access} of the client",
                expected="none against the rule",
                seen=offence.text,
            )


@pytest.mark.rule("v1.client.reads-after-failure")
@pytest.mark.parametrize("value", [DeviceState.INVALID_5, ERROR, DeviceState.INVALID_7], ids="{:03b}b".format)
def test_reads_after_failure(device, migration, value):
    """After a write that fails, and only then a write that succeeds, device_state has been read in between."""
    if migration.try_set_state(value).ok:
        raise checks.Unjudged("the device accepted what it should refuse")
    migration.try_set_state(RUNNING)
    judge_clause(traffic(device, migration, 2), "DS-04")


@pytest.mark.rule("v1.client.resets-after-error")
def test_resets_after_error(device, migration, actor):
    """A device that reported the error state is reset before device_state is written again."""
    actor.provoke_error()
    migration.try_set_state(STOP)
    if not migration.in_error():
        raise checks.Unjudged("the provoked failure did not lead to the error state")
    device.reset()
    migration.enter(STOP)
    judge_clause(traffic(device, migration, 2), "DS-07")


@pytest.mark.rule("v1.client.preserves-reserved-bits")
def test_preserves_reserved_bits(device, migration):
    """Each write of a live migration is preceded by a read and carries the reserved bits that were read."""
    migration.enter(PRE_COPY, STOP_AND_COPY, STOP)
    judge_clause(traffic(device, migration, 3), "DS-15")


@pytest.mark.rule("v1.client.stop-is-optional")
@pytest.mark.parametrize("stops", [True, False], ids=["stopped", "not stopped"])
def test_stop_is_optional(device, migration, stops):
    """A client that closes the device, stopped or running, has offended against nothing and finds it running again."""
    if stops:
        migration.enter(STOP)
    device.reopen()
    checks.equal("reading device_state as the next user", migration.state(), RUNNING)
    for offence in judge(traffic(device, migration, int(stops))):
        checks.broken(f"judging access {offence.access} of the client", expected="no offence", seen=offence.text)
