# SPDX-License-Identifier: GPL-2.0-only
"""Random damage to text and to trees of values."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from mutation import EDGES, mutate

#: Pieces of YAML and JSON that have a meaning, or nearly so.
_TOKENS = [
    *("null", "~", "true", "no", "on", "0", "-1", "1e400", ".inf", "-.nan", "0x", "0o777", "1_000", "12:30:45", "0s"),
    *("9" * 5000, "0x" + "f" * 3000, "2026-01-02", "2026-13-45", "1" * 40 + "KiB", "1e9GiB", "-5s", "1us", "9999h"),
    *("''", '""', '"\\ud800"', '"\\x00"', '"\\U00110000"', "'", '"', "|", ">", "|2-", "- ", "-", ": ", ":", "? ", "?"),
    *("[", "]", "{", "}", "[]", "{}", ",", "#", "&a", "&a [*a]", "*a", "<<: *a", "!!python/name:os.system", "!x", "!!"),
    *("---", "...", "%YAML 9.9", "%TAG ! x", "\t", "\r", "\x85", "\u2028", "\ufeff", "\x00", "\x1b[2J", "\u202e"),
    *("$iova", "$value", "$length", "{socket}", "../" * 50, "x" * 3000, "format", "device", "migration_v1", "trapped"),
]

_DEEP: list[Callable[[int], str]] = [
    lambda depth: "[" * depth,
    lambda depth: "{a: " * depth,
    lambda depth: "- " * depth,
    lambda depth: "? " * depth,
    lambda depth: "".join(f"{' ' * level}a:\n" for level in range(depth)),
    lambda depth: "a: &a0 [x]\n" + "".join(f"b{n}: &a{n + 1} [*a{n}, *a{n}, *a{n}]\n" for n in range(depth)),
]

_WORD = re.compile(r"[^\s\[\]{},:#]+")


def mutate_text(rng: Random, text: str) -> tuple[str, bytes]:
    """The kind of a change somewhere in a text, and the changed bytes, not all of which are UTF-8."""
    kind = rng.choice(("bytes", "bytes", "word", "word", "word", "line", "line", "deep", "encoding"))
    if kind == "bytes":
        data = text.encode()
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            kind, data = mutate(rng, data)
        return kind, data
    if kind == "word":
        for _ in range(rng.choice((1, 1, 2, 4))):
            words = list(_WORD.finditer(text))
            if not words:
                break
            word = rng.choice(words)
            other = rng.choice((rng.choice(_TOKENS), rng.choice(words)[0], str(rng.choice(EDGES)), word[0] * 2, ""))
            text = text[: word.start()] + other + text[word.end() :]
    elif kind == "line":
        lines = text.splitlines(keepends=True)
        for _ in range(rng.choice((1, 1, 2, 5))):
            _change_lines(rng, lines)
        text = "".join(lines)
    elif kind == "deep":
        at = rng.choice([0, len(text), *(match.end() for match in re.finditer(r": |\n", text))])
        text = text[:at] + rng.choice(_DEEP)(rng.choice((3, 15, 16, 17, 100, 3000))) + text[at:]
    else:
        encoded = text.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")))
        return kind, rng.choice(
            (encoded, text.encode("latin-1", "replace") + b"\xe9", text.encode() + b"\xf4\x90\x80\x80")
        )
    return kind, text.encode("utf-8", "surrogatepass")


def _change_lines(rng: Random, lines: list[str]) -> None:
    if not lines:
        return
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    what = rng.randrange(6)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(other, lines[at])
    elif what == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif what == 3:
        lines[at] = rng.choice((" ", "  ", "\t", "- ", "    ")) + lines[at]
    elif what == 4:
        lines[at] = lines[at].lstrip()
    else:
        lines[at] = lines[at].rstrip("\n")


def mutate_tree(rng: Random, tree: Any) -> tuple[str, Any]:
    """The kind of a change somewhere in a tree of mappings, lists and values, and the changed tree."""
    changed = {"": copy.deepcopy(tree)}
    kind = ""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(changed))
        holder, name = rng.choice(places)
        kind = rng.choice(("value", "value", "value", "gone", "renamed", "doubled", "swapped", "wrapped", "shared"))
        old = holder[name]
        if kind == "value":
            holder[name] = _value(rng, old)
        elif kind == "gone" and name != "":
            del holder[name]
        elif kind == "renamed" and isinstance(holder, dict) and name != "":
            holder[_name(rng, str(name))] = holder.pop(name)
        elif kind == "doubled" and isinstance(holder, list):
            holder[name:name] = [old] * rng.choice((1, 2, 50))
        elif kind == "wrapped":
            for _ in range(rng.choice((1, 1, 20))):
                old = rng.choice(([old], {"x": old}))
            holder[name] = old
        else:
            other, place = rng.choice(places)
            if kind == "swapped" and other is not holder and place in range(len(other)):
                other[place] = copy.deepcopy(old)
            else:
                holder[name] = [old, old]
    return kind, changed[""]


def _places(holder: Any) -> Iterator[tuple[Any, Any]]:
    """Each mapping or list of a tree with each key or index of it."""
    waiting, seen = [holder], set()
    while waiting:
        holder = waiting.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        for name in list(holder) if isinstance(holder, dict) else range(len(holder)):
            yield holder, name
            if isinstance(holder[name], (dict, list)):
                waiting.append(holder[name])


def _name(rng: Random, name: str) -> str:
    return rng.choice((name + "x", name[1:], name.upper(), rng.choice(_TOKENS), name.replace("_", "-")))


def _value(rng: Random, old: Any) -> Any:
    """A value that replaces this one, of the same or another type."""
    choice = rng.random()
    if isinstance(old, (int, float)) and choice < 0.5:
        return rng.choice((-old, old + 1, old * 2, rng.choice(EDGES), -rng.choice(EDGES), 1e308, 0.5))
    if isinstance(old, str) and choice < 0.5:
        return rng.choice(
            (old + old, old[1:], old.upper(), old * 500, "\n" + old, old + "\x1b[2J", rng.choice(_TOKENS))
        )
    return rng.choice(
        (None, True, False, 0, -1, 1 << 64, 10**30, 1e400, float("nan"), "", "x", "\ud800", [], {}, [[]], {"": None})
    )
