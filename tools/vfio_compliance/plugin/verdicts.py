# SPDX-License-Identifier: GPL-2.0-only
"""What an error means for the rule being judged."""

from __future__ import annotations

import traceback
from dataclasses import replace

import pytest

from ..common.moment import AfterCall
from ..device import DeviceError, Unreachable
from ..results.failure import Failure, Further
from ..results.verdict import Verdict
from ..run.checks import NotApplicable, RuleBroken, Silent, Unjudged, compared_by
from ..run.errors import Broken, ProfileFault
from ..transport import CallTimeout, GivenUp, SetupError, Tracer, TransportError

#: After these, the device or the host can no longer be used.
ENDS_THE_RUN = (Broken, SetupError)


def judge(error: BaseException | None, refused: Verdict, broken: Verdict) -> tuple[Verdict, Failure | None]:
    """The verdict on one phase of a case, and the reason.

    ``refused`` is the verdict if the driver refused something, ``broken`` the one if the rule was broken.
    """
    if error is None:
        return Verdict.PASS, None
    if isinstance(error, NotApplicable):
        return Verdict.NOT_APPLICABLE, Failure(str(error))
    if isinstance(error, Silent):
        return Verdict.NOT_RUN, Failure(str(error), wants=error.key)
    if isinstance(error, Unjudged):
        return Verdict.NOT_RUN, Failure(str(error))
    if isinstance(error, Unreachable):
        return Verdict.NOT_RUN, _failure(error)
    if isinstance(error, CallTimeout):
        return Verdict.HANG, Failure(error.message, remedy=error.remedy, path=error.path or "")
    if isinstance(error, pytest.fail.Exception) and str(error).startswith("Timeout"):
        return Verdict.HANG, Failure(f"the test did not end in time: {error}", remedy="see limits.test")
    if isinstance(error, (*ENDS_THE_RUN, ProfileFault)):
        return Verdict.BROKEN, Failure(error.message, remedy=error.remedy)
    if isinstance(error, RuleBroken):
        further = tuple(Further(each.what, each.expected, each.seen, each.path) for each in error.further)
        return broken, replace(_failure(error), path=error.path, options=error.options, further=further)
    if isinstance(error, DeviceError):
        return refused, _failure(error)
    if isinstance(error, GivenUp):
        return Verdict.NOT_RUN, Failure(error.message, remedy=error.remedy)
    if isinstance(error, TransportError):
        return refused, Failure(error.message, remedy=error.remedy)
    trace = "".join(traceback.format_exception(error))
    return Verdict.BROKEN, Failure(f"the suite itself failed: {error!r}", traceback=trace)


def blamed(error: BaseException | None, tracer: Tracer) -> int:
    """The running number of the call that shows the failure of the phase that just ended; 0 for none.

    If the phase made no call, it is the last call, of an earlier case, from which the phase was judged.
    """
    if error is None:
        return 0
    call = error.after if isinstance(error, AfterCall) else tracer.last
    looked_back = call == tracer.last < tracer.part_began and tracer.spans
    return tracer.spans[-1].last if looked_back else call


def _failure(error: RuleBroken | DeviceError) -> Failure:
    return Failure(error.what, error.expected, error.seen, compared=compared_by(error))
