# SPDX-License-Identifier: GPL-2.0-only
"""A program in Python, which needs only the standard library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ..common.wrap import wrap
from .naming import constant, offsets, values
from .program import Program
from .statements import Body, Statement

_PRELUDES: Final = Path(__file__).with_name("preludes")

#: The preludes of each transport.
_OF_TRANSPORT: Final = {"vfio-user": "vfio_user.py", "kernel-group": "kernel_group.py"}

_WIDTH: Final = 100
_WORDS: Final = {
    " AND ": " and ",
    " OR ": " or ",
    "NOT ": "not ",
    "TRUE": "True",
    "ALL": "None",
}


def render(program: Program, head: str) -> str:
    """The whole file; the lines of ``head`` say what it shows and how to run it."""
    parts = [
        "\n".join(f"# {line}".rstrip() for line in head.splitlines()),
        prelude("start.py"),
        "\n".join(_names(program)),
        prelude(_OF_TRANSPORT[program.transport]),
        prelude("common.py"),
        prelude("buffers.py") if program.saves else "",
        prelude("main.py"),
        "\n".join(body(program)),
        'if __name__ == "__main__":\n    sys.exit(main())',
    ]
    return "#!/usr/bin/env python3\n" + "\n\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _names(program: Program) -> Iterator[str]:
    for name, value in offsets(program).items():
        yield f"{name} = {value:#x}"
    for register, named in values(program):
        yield from (f"{constant(words)} = {value}" for words, value in named.items())
        table = ", ".join(f'{value}: "{words}"' for words, value in named.items())
        yield f"{register.upper()}_NAMES = {{{table}}}"
        yield from ("", "", f"def {register}_name(value):")
        yield f"    return {register.upper()}_NAMES.get(value, hex(value))"


def body(program: Program) -> Iterator[str]:
    """The part that differs from program to program."""
    made = Body(program)
    yield "def reproduce():"
    for line in wrap("", f"{program.rule.clause}: {program.rule.says}", _WIDTH):
        yield f"    # {line.strip()}"
    if made.an_error_is_right:
        yield "    Answer.an_error_is_right = True"
    for statement in made.statements:
        yield from (f"    {line}" for line in _statement(statement))
    if not made.round:
        yield from _checks(made, "check")
        yield "    return verdict()"
        return
    yield "    for _ in rounds():"
    for statement in made.round:
        yield from (f"        {line}" for line in _statement(statement))
    yield from (f"    {line}" for line in _checks(made, "check_round"))
    yield "    return verdict_of_rounds()"


def _checks(made: Body, function: str) -> Iterator[str]:
    for check in made.checks:
        words = (_words(check.shows), repr(check.what), repr(check.expected), _words(check.seen))
        yield from in_lines(f"    {function}(", words, ")", " " * 8)


def in_lines(head: str, words: Sequence[str], tail: str, indent: str) -> Iterator[str]:
    """A call with its arguments, each on its own line if they do not fit into one."""
    line = f"{head}{', '.join(words)}{tail}"
    if len(line) <= _WIDTH:
        yield line
        return
    yield head
    yield from (f"{indent}{word}{',' if at < len(words) else tail}" for at, word in enumerate(words, 1))


def _statement(each: Statement) -> Iterator[str]:
    arguments = ", ".join(map(_words, each.arguments))
    call = f"{each.function}({arguments})"
    if each.watch:
        yield f"{each.name}_first, {each.name} = watch({each.watch}, {each.function}, {arguments})"
        return
    if each.times > 1:
        call = f"repeat({each.times}, {each.function}, {arguments})"
    if each.how:
        call = f'{each.how}({call}, "{each.what}")'
    yield (f"{each.name} = {call}" if each.name else call) + (f"  # {each.comment}" if each.comment else "")


def _words(text: str) -> str:
    if text.startswith('"'):
        return text
    for word, ours in _WORDS.items():
        text = text.replace(word, ours)
    return text


def prelude(name: str) -> str:
    """A prelude without the line that names its licence."""
    return (_PRELUDES / name).read_text(encoding="utf-8").partition("\n\n")[2]
