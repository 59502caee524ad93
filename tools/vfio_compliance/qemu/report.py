# SPDX-License-Identifier: GPL-2.0-only
"""What a real QEMU did with the device, as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..common.words import counted
from ..common.wrap import wrap
from ..interfaces import CLAUSES
from .answer import SAYS, SEEN, Answer, Findings
from .conduct import TRACE_FILE, Conduct
from .output import plain

NAME = "qemu.json"

#: Version of the file's format.
FORMAT = 2

#: The most messages of QEMU that are shown; the file has all that were kept.
_SHOWN = 12

_WORD = {True: "yes", False: "no", None: "unknown"}


def head(found: Findings, width: int) -> str:
    """What is going to be tried."""
    target = found.target or "the same device, after the source has ended"
    by = found.recorded + (f"; not by strace: {found.no_strace}" if found.no_strace else "")
    rows = {"device": found.device, "target": target, "kernel": found.kernel, "QEMU": found.program, "recorded": by}
    return "\n".join(line for label, text in rows.items() for line in wrap(f"{label:10}", text or "none", width))


def line(answer: Answer, width: int) -> str:
    """One flow."""
    said = SAYS[answer.outcome] + (f", and the device's state {answer.state}" if answer.state in SEEN else "")
    lines = [*wrap(f"  {answer.flow:29}", said, width)]
    if answer.why:
        lines += wrap("      ", answer.why, width)
    if answer.state and answer.state not in SEEN:
        lines += wrap("      ", f"the device's state was {answer.state}", width)
    if numbers := _numbers(answer):
        lines += wrap("      ", numbers, width)
    return "\n".join(lines)


def _numbers(answer: Answer) -> str:
    numbers = answer.numbers
    parts = {
        "ms in all": numbers.total,
        "ms downtime": numbers.downtime,
        "bytes of the device": numbers.device_bytes,
        "bytes of memory": numbers.bytes,
    }
    return ", ".join(f"{number} {unit}" for unit, number in parts.items() if number is not None)


def end(found: Findings, folder: Path, width: int) -> str:
    """The conclusion."""
    return "\n".join(_end(found, folder, width))


def _end(found: Findings, folder: Path, width: int) -> Iterator[str]:
    if found.messages:
        yield ""
        yield "QEMU says"
        for message in found.messages[:_SHOWN]:
            yield from wrap("  ", _short(message), width, "  ")
        if (left := len(found.messages) - _SHOWN) > 0:
            yield f"  and {counted(left, 'line')} more, see {NAME}"
    if found.conduct:
        yield ""
        yield from _conduct(found.conduct, folder, width)
    yield ""
    if found.why:
        yield from wrap("", f"{'not applicable' if found.not_applicable else 'not tried'}: {found.why}", width)
    version = found.version.partition(" ")[0]
    word = "n/a" if found.not_applicable else _WORD[found.works]
    yield f"Works with {f'QEMU {version}' if version else 'QEMU'}: {word}"
    yield f"results: {folder}"


def _conduct(all_of_them: Sequence[Conduct], folder: Path, width: int) -> Iterator[str]:
    """The conduct of all QEMUs as clients; the offences and damage of each."""
    kept = {clause for each in all_of_them for clause in each.kept}
    broken = {clause for each in all_of_them for clause in each.broken}
    undecided = {clause for each in all_of_them for clause in each.undecided}
    in_part = kept & undecided
    rows = {
        "kept": kept - in_part - broken,
        "BROKEN": broken,
        "in part": in_part - broken,
        "unclear": undecided - in_part - broken,
    }
    yield f"QEMU as a client, by {all_of_them[0].by}"
    for label, clauses in rows.items():
        if clauses or label == "kept":
            yield from wrap(f"  {label:10}", ", ".join(each for each in CLAUSES if each in clauses) or "none", width)
    for each in all_of_them:
        command = f"vfio-compliance judge {folder / each.name}{TRACE_FILE}"
        command += f" --source {folder / each.source}{TRACE_FILE}" if each.source else ""
        for offence in each.offences:
            yield from wrap(f"  {each.name:10}", offence, width)
        if each.offences:
            yield from wrap(f"  {'':10}", command, width)
        if each.damage:
            judged = "judged in part" if each.kept or each.broken else "not judged"
            yield from wrap(f"  {each.name:10}", f"{judged}: {plain(each.damage)}", width)


def _short(message: str) -> str:
    """A message without the program's name and the option, which are the same for all."""
    return plain(re.sub(r"^\S*qemu\S*: (-device \S+: )?", "", message))


def write(found: Findings, folder: Path) -> None:
    """Write the file for other programs. Raises OSError."""
    document = {
        "format": FORMAT,
        "works": found.works,
        "exit_code": found.exit_code,
        **{
            name: value
            for name, value in dataclasses.asdict(found).items()
            if name not in ("answers", "works", "exit_code")
        },
        "flows": [{**dataclasses.asdict(answer), "outcome": answer.outcome.value} for answer in found.answers],
    }
    (folder / NAME).write_text(json.dumps(document, indent=2) + "\n")
