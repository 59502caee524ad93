# SPDX-License-Identifier: GPL-2.0-only
"""A program in C, which needs only libc and the kernel's headers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ..common.wrap import wrap
from .naming import constant, offsets, values
from .program import Program
from .python import in_lines, prelude
from .statements import Body, Statement

#: The preludes of each transport.
_OF_TRANSPORT: Final = {"vfio-user": "vfio_user.c", "kernel-group": "kernel_group.c"}

_WIDTH: Final = 100
_WORDS: Final = {" AND ": " && ", " OR ": " || ", "NOT ": "!", "TRUE": "1"}
#: Numbers that do not fit into an int.
_LONG: Final = re.compile(r"\b0x[89a-f][0-9a-f]{7}\b|\b0x[0-9a-f]{9,}\b")


def render(program: Program, head: str) -> str:
    """The whole file; the lines of ``head`` say what it shows and how to run it."""
    parts = [
        "/*\n" + "\n".join(f" * {line}".rstrip() for line in head.splitlines()) + "\n */",
        prelude("start.c"),
        "\n".join(_names(program)),
        prelude("answers.c"),
        prelude(_OF_TRANSPORT[program.transport]),
        prelude("common.c"),
        prelude("buffers.c") if program.saves else "",
        prelude("main.c"),
        "\n".join(body(program)),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _names(program: Program) -> Iterator[str]:
    for name, value in offsets(program).items():
        yield f"#define {name} {value:#x}"
    for register, named in values(program):
        yield from (f"#define {constant(words)} {value}" for words, value in named.items())
        yield from ("", f"HELPER const char *{register}_name(uint64_t value)", "{")
        yield "\tstatic const char *names[] = {"
        yield from (f'\t\t[{value}] = "{words}",' for words, value in named.items())
        yield from ("\t};", "\tstatic char number[32];", "")
        yield "\tif (value < sizeof(names) / sizeof(*names) && names[value])"
        yield "\t\treturn names[value];"
        yield '\tsnprintf(number, sizeof(number), "0x%llx", (unsigned long long)value);'
        yield from ("\treturn number;", "}")


def body(program: Program) -> Iterator[str]:
    """The part that differs from program to program."""
    made = Body(program)
    yield from ("static int reproduce(void)", "{")
    lines = [line.strip() for line in wrap("", f"{program.rule.clause}: {program.rule.says}", _WIDTH)]
    yield f"\t/* {lines[0]}" + ("" if lines[1:] else " */")
    yield from (f"\t * {line}" + (" */" if line is lines[-1] else "") for line in lines[1:])
    if made.an_error_is_right:
        yield "\tan_error_is_right = 1;"
    known: set[str] = set()
    for statement in made.statements:
        yield from (f"\t{line}" for line in _statement(statement, known))
    if not made.round:
        yield from _checks(made, "check")
        yield from ("\treturn verdict();", "}")
        return
    yield "\tfor (int round = 1; another_round(round); round++) {"
    for statement in made.round:
        yield from (f"\t\t{line}" for line in _statement(statement, known))
    yield from (f"\t{line}" for line in _checks(made, "check_round"))
    yield from ("\t}", "\treturn verdict_of_rounds();", "}")


def _checks(made: Body, function: str) -> Iterator[str]:
    for check in made.checks:
        words = (_words(check.shows), _quoted(check.what), _quoted(check.expected), _words(check.seen))
        yield from in_lines(f"\t{function}(", words, ");", "\t\t")


_TYPES: Final = {"device": "struct device *", "saved": "struct saved "}


def _statement(each: Statement, known: set[str]) -> Iterator[str]:
    call = f"{each.function}({', '.join(map(_words, each.arguments))})"
    comment = f" /* {each.comment} */" if each.comment else ""
    if each.kind == "add":
        yield f"data = {call};"
        return
    kind = _TYPES.get(each.kind, "struct answer ")
    declared = "" if not each.name or each.name in known else kind
    known.add(each.name)
    if each.watch:
        yield f"struct answer {each.name} = {call}, {each.name}_first = {each.name};"
        yield f"for (long long end = now() + {each.watch}; same({each.name}_first, {each.name}) && now() < end;)"
        yield f"\t{each.name} = {call};"
        return
    if each.how:
        call = f'{each.how}({call}, "{each.what}")'
    if each.times > 1:
        if each.name and declared:
            yield f"{declared}{each.name} = {{ 0 }};"
        yield f"for (int times = 0; times < {each.times}; times++)"
        yield f"\t{each.name} = {call};{comment}" if each.name else f"\t{call};{comment}"
        return
    yield (f"{declared}{each.name} = {call};" if each.name else f"{call};") + comment


def _words(text: str) -> str:
    if text.startswith('"'):
        return text
    for word, ours in _WORDS.items():
        text = text.replace(word, ours)
    return _LONG.sub(lambda found: f"{found[0]}ull", text)


def _quoted(text: str) -> str:
    return '"' + re.sub(r'["\\]|[^ -~]|\?(?=\?)', lambda found: f"\\{ord(found[0]):03o}", text) + '"'
