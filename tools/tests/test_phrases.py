# SPDX-License-Identifier: GPL-2.0-only
"""There are no phrases to avoid (CONTRIBUTING.md, Words) in what is written for people."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

#: All that is written for people; the list of phrases itself is in this file.
PLACES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "profiles", "suites", "tools")
SKIPPED = (Path(__file__).name, "node_modules")

#: Patterns of phrases to avoid, with what to write instead.
PHRASES = {
    r"the text": "the specification; the message",
    r"(is|are|was|were|be|been) told": "is reported, shown, named; is passed to",
    r"(?<!there )(is|was) no (?!longer|more)\w+": "is not a ...",
    r"(is|are) (?-i:none)": "is not one; there is no ...",
    r"so (many|much)": "N, the given number of",
    r"(go|goes|going|went) on": "continues",
    r"(stand|stands|stood|standing) still": "is stopped",
    r"(stands?|stood) in": "is in",
    r"(lie|lies|lay) (at|in|behind|past|beside|inside|outside|wholly)": "is at, is in",
    r"whoever|(some|any|every|no)body": "the next user, anyone who, the caller, no one",
    r"amid": "in the middle of",
    r"besides": "also, in addition",
    r"all the same": "nevertheless",
    r"meanwhile": "in the meantime, while ...",
    r"not known": "unknown",
    r"for ever": "forever",
    r"(threw|throws?|thrown) away": "discards",
    r"\w+'s matter|matter of its own": "judged by ...",
    r"what (comes|came|becomes|became) of": "the result of",
}

_FIND = [(re.compile(rf"\b(?:{phrase})\b", re.IGNORECASE), instead) for phrase, instead in PHRASES.items()]
_C_PROSE = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
_CODE = re.compile(r"`[^`]*`")
#: What begins a line of a comment.
_MARGIN = re.compile(r"^\s*(#:?|\*|//)?\s*", re.MULTILINE)


def of_python(source: str) -> Iterator[tuple[int, str]]:
    """Comments and strings, each with its line; an identifier is neither, even in a string of its own."""
    block: list[str] = []
    begin, last = 0, -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1:
                yield begin, "\n".join(block)
                block, begin = [], token.start[0]
            block.append(token.string)
            last = token.start[0]
    yield begin, "\n".join(block)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def of_c(source: str) -> Iterator[tuple[int, str]]:
    """Comments and strings, each with its line."""
    for found in _C_PROSE.finditer(source):
        yield source.count("\n", 0, found.start()) + 1, found[0]


def of_markdown(source: str) -> Iterator[tuple[int, str]]:
    """Paragraphs and rows of tables, each with its line; code and output, which are indented, are left out."""
    block: list[str] = []
    begin = 0
    for number, line in enumerate([*source.splitlines(), ""], 1):
        if not line.strip() or line.startswith(("    ", "|")):
            yield begin, _CODE.sub("``", "\n".join(block))
            block = []
        if line.startswith("|"):
            yield number, _CODE.sub("``", line)
        elif line.strip() and not line.startswith("    "):
            begin = begin if block else number
            block.append(line)


def of_yaml(source: str) -> Iterator[tuple[int, str]]:
    """Comments in a row together, and every other line by itself."""
    block: list[str] = []
    begin = 0
    for number, line in enumerate([*source.splitlines(), ""], 1):
        if line.lstrip().startswith("#"):
            begin = begin if block else number
            block.append(line)
            continue
        yield begin, _CODE.sub("``", "\n".join(block))
        yield number, _CODE.sub("``", line)
        block = []


READERS = {".py": of_python, ".c": of_c, ".h": of_c, ".md": of_markdown, ".yaml": of_yaml}


def phrases(suffix: str, source: str) -> Iterator[tuple[int, str, str]]:
    """Each phrase to avoid: the line where its sentence begins, the phrase, and what to write instead."""
    for line, prose in READERS[suffix](source):
        joined = " ".join(_MARGIN.sub("", prose).split())
        for pattern, instead in _FIND:
            for found in pattern.finditer(joined):
                yield line, found[0], instead


@pytest.mark.parametrize(
    ("suffix", "source", "found"),
    [
        (".py", "# The text\n# is silent.", ["The text"]),
        (".py", "#: Bytes of so\n#: many pages.", ["so many"]),
        (".py", '"""What is dirty.\n\n    The stream goes\n    on.\n    """', ["goes on"]),
        (".py", "f'{count} bytes lie at {place}'", ["lie at"]),
        (".py", "nobody = whoever['besides']", []),
        (".py", "x = y is None  # there is no more, is no longer, is none", ["is none"]),
        (".c", "int told; /* is told\n * all the\n * same */", ["is told", "all the same"]),
        (".c", 'puts("not known"); // for ever', ["not known", "for ever"]),
        (".yaml", "# The value\n# goes on.\nreason: nobody\n", ["goes on", "nobody"]),
        (".md", "A device\nstands\nstill.\n\n    the text\n", ["stands still"]),
        (".md", "| `whoever` | nobody |\n", ["nobody"]),
        (".md", "It is no device, but there is no other.", ["is no device"]),
    ],
)
def test_phrases_are_found(suffix: str, source: str, found: list[str]) -> None:
    """In prose, across lines, and not in code."""
    assert sorted(phrase for _, phrase, _ in phrases(suffix, source)) == sorted(found)


@pytest.mark.parametrize("place", PLACES)
def test_no_phrase_to_avoid(place: str) -> None:
    """In READMEs, rules, profiles, help, messages, docstrings and comments."""
    start = PROJECT / place
    files = [start] if start.is_file() else sorted(file for file in start.rglob("*") if file.suffix in READERS)
    files = [file for file in files if not any(part in SKIPPED for part in file.parts)]
    assert files
    assert [
        f"{file.relative_to(PROJECT)}:{line}: {phrase!r}; write: {instead}"
        for file in files
        for line, phrase, instead in phrases(file.suffix, file.read_text(encoding="utf-8"))
    ] == []
