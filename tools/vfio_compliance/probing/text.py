# SPDX-License-Identifier: GPL-2.0-only
"""A first profile, as text."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Final

from ..common.words import counted, printable
from ..profiles import KernelGroupDevice, Section
from ..profiles.records import Record
from ..rules import Catalogue
from .blanks import blanks, comment, is_judged, lets_judge
from .errors import ProbeError
from .identity import Identity, names, same_kind
from .look import Look
from .target import Where

_LONGEST_NAME: Final = 64
#: Devices that are named as a second one.
_MOST_OTHERS: Final = 4


def text(
    where: Where, known: Identity, seen: Look, kind: Record, sections: Sequence[type[Section]], catalogue: Catalogue
) -> str:
    """A profile, of the format ``kind``, of a device that was looked at. Raises ProbeError if nothing can be judged."""
    there = [section for section in sections if section.name in seen.seen]
    if not there:
        looked_for = " and ".join(f"{section.about} ({section.name})" for section in sections)
        raise ProbeError(
            f"there is nothing to judge: the device shows none of {looked_for}; is migration enabled in the driver,"
            " and is this the right device?"
        )
    lines = [
        *_head(where, known, seen),
        *_interfaces(seen, sections, there),
        "",
        *_device(where, catalogue),
        "",
        *_claims(seen, kind, there, catalogue),
        "",
        *_stimulus(kind, there, catalogue),
    ]
    return "\n".join(lines) + "\n"


def quoted(value: str) -> str:
    """A text in YAML's double quotes."""
    return json.dumps(value, ensure_ascii=True)


def _head(where: Where, known: Identity, seen: Look) -> Iterator[str]:
    ids = known.ids if all(known.ids) else seen.ids
    vendor, product = (known.vendor, known.product) if known.vendor else names(*ids)
    yield from comment(
        f"A first profile of {_called(where)}, as `vfio-compliance probe` found it with Linux {os.uname().release}. "
        "Nothing was written to the device. The lines without a # are enough for a run. What is commented out cannot "
        "be seen from outside: fill it in to have more rules judged. The template explains each key, with "
        "examples (`vfio-compliance list --shipped` says where it is). Check the file after each change: "
        "vfio-compliance check FILE."
    )
    yield from comment(seen.device)
    for region in seen.regions:
        yield from comment(f"Region {region}.")
    if known.module:
        facts = {"version": known.version, "srcversion": known.srcversion}
        known_facts = ", ".join(f"{name} {value}" for name, value in facts.items() if value)
        yield from comment(f"The driver is the module {known.module}{f' ({known_facts})' if known_facts else ''}.")
    yield "format: 1"
    yield ""
    yield f"name: {quoted(_name(where))}"
    if all(ids):
        yield f"description: {quoted(f'PCI device {ids[0]}:{ids[1]}')}"
    for key, value in (("vendor", vendor), ("product", product), ("driver", known.driver), ("version", known.version)):
        if value.strip():
            yield f"{key}: {quoted(printable(value))}"
    yield ""


def _interfaces(seen: Look, sections: Sequence[type[Section]], there: Sequence[type[Section]]) -> Iterator[str]:
    for section in sections:
        if section not in there:
            yield from comment(f"{section.name} is left out: the device does not show {section.about}.")
    yield f"interfaces: [{', '.join(section.name for section in there)}]"


def _device(where: Where, catalogue: Catalogue) -> Iterator[str]:
    yield "device:"
    yield f"  transport: {where.transport}"
    if isinstance(where, KernelGroupDevice):
        yield f"  name: {quoted(where.name)}"
        yield f"  sysfs: {quoted(where.sysfs or '')}"
    else:
        if where.socket is not None:
            yield f"  socket: {quoted(where.socket)}"
        if where.command is not None:
            yield f"  command: [{', '.join(map(quoted, where.command))}]"
    yield from comment(
        "A second device of the same kind, on which a saved state is restored. Without it, that is done on the device"
        " itself after a reset. `second: none` says that there is no second device.",
        "  ",
    )
    yield from comment(lets_judge(catalogue.wanting("device.second")), "  ")
    yield from (f"  # {line}" for line in _second(where))


def _second(where: Where) -> Iterator[str]:
    yield "second:"
    if not isinstance(where, KernelGroupDevice):
        yield "  {}" if where.command else "  socket:"
        return
    others = same_kind(where.sysfs or "")[:_MOST_OTHERS]
    folder = os.path.dirname(where.sysfs or "")
    for other in others[1:]:
        yield f"  # or {quoted(other)}"
    yield f"  name: {quoted(others[0]) if others else ''}".rstrip()
    yield f"  sysfs: {quoted(f'{folder}/{others[0]}') if others else ''}".rstrip()


def _claims(seen: Look, kind: Record, there: Sequence[type[Section]], catalogue: Catalogue) -> Iterator[str]:
    yield from comment("What the device promises, as far as it can be seen. A claim that turns out wrong is a finding.")
    given = {key for section in there for key in seen.seen[section.name].claims}
    yield "claims:" if given else "# claims:"
    for section in there:
        found = seen.seen[section.name]
        for said in found.says:
            yield from comment(printable(said), "  ")
        for key, value in found.claims.items():
            yield f"  {key}: {value}"
    yield from blanks("claims", kind.kinds["claims"], there, given, catalogue)


def _stimulus(kind: Record, there: Sequence[type[Section]], catalogue: Catalogue) -> Iterator[str]:
    judged = [rule for rule in catalogue if is_judged(rule, there)]
    wanting = [rule for rule in catalogue.wanting("stimulus") if rule in judged]
    yield from comment(
        "How to make the device do something: lists of steps, which the template explains. Without any of them, "
        f"{counted(len(wanting), 'rule')} of the {len(judged)} for these "
        "interfaces cannot be judged, or not in all cases. Remove the # from the keys that you fill in, and, with "
        "the first of them, from `stimulus:`. The value `none` says that the device has no such thing."
    )
    yield "# stimulus:"
    yield from blanks("stimulus", kind.kinds["stimulus"], there, (), catalogue)


def _called(where: Where) -> str:
    if isinstance(where, KernelGroupDevice):
        return where.name
    return where.socket or " ".join(where.command or ())


def _name(where: Where) -> str:
    """A short name for reports, as profiles require it."""
    if isinstance(where, KernelGroupDevice):
        called = where.name
    else:
        words = where.command or ("",)
        called = os.path.basename(where.socket or (words[2] if words[1:2] == ("-m",) and words[2:] else words[0]))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", called).strip("-._")
    return name[:_LONGEST_NAME] or "device"
