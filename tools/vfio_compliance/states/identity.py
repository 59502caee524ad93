# SPDX-License-Identifier: GPL-2.0-only
"""What a saved state is of: the device, its driver and their versions, as far as the host knows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from ..common.words import printable
from ..profiles import Profile
from ..run.driver import program_facts
from ..run.modules import driver_facts
from ..run.session import Session
from .manifest import LONGEST_FACT

#: The facts that are compared; the others (when, by which suite, by which program) are for the reader.
_TELLING = (
    "name",
    "vendor",
    "product",
    "driver",
    "driver version",
    "driver srcversion",
    "kernel",
    "command",
    "program sha256",
)
_CLAIMS = "claims."
#: Characters of a fact in a line about a difference.
_SHOWN = 200


def identity_of(session: Session, suite: str, now: str) -> dict[str, str]:
    """The facts, by name, in one line each; unknown ones are left out, and very long ones are cut.

    The version of the driver is the one that the kernel reports for the module, else the one in the profile.
    """
    profile = session.profile
    known = {
        "saved": now,
        "suite": suite,
        "name": profile.name,
        "vendor": profile.vendor,
        "product": profile.product,
        "driver": profile.driver,
        "driver version": profile.version,
        **session.transport.identity(),
        **program_facts(profile),
        **dict(_claims(profile)),
    }
    known |= driver_facts(known["driver"] or "", session.transport.places().get("sysfs"))
    return {name: printable(value)[:LONGEST_FACT] for name, value in known.items() if value}


def driver_version(session: Session) -> str:
    """The version that the kernel reports for the module, else the one in the profile; empty if unknown."""
    profile = session.profile
    sysfs = session.transport.places().get("sysfs")
    facts = driver_facts(profile.driver or "", sysfs) if session.transport.kernel else {}
    return printable(facts.get("driver version") or profile.version or "")[:LONGEST_FACT]


def differences(saved: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """A line for each compared fact that is different here."""
    claims = sorted(name for name in saved.keys() & here.keys() if name.startswith(_CLAIMS))
    return [
        f"{name}: {_shortly(saved.get(name))}; here {_shortly(here.get(name))}"
        for name in (*_TELLING, *claims)
        if saved.get(name) != here.get(name)
    ]


def _shortly(fact: str | None) -> str:
    if fact is None:
        return "unknown"
    return fact if len(fact) <= _SHOWN else f"{fact[:_SHOWN]}..."


def _claims(profile: Profile) -> Iterator[tuple[str, str]]:
    """The profile's claims about the device, without those that it leaves open."""
    for name, value in asdict(profile.claims).items():
        if value not in (None, ()):
            yield _CLAIMS + name, value if isinstance(value, str) else json.dumps(value)
