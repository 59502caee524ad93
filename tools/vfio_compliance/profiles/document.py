# SPDX-License-Identifier: GPL-2.0-only
"""A YAML file, such as a profile or a plan: from bytes to nodes, and every problem with its place in the file.

Nodes are built from PyYAML's parser events rather than by its composer, because only the events still show
anchors and tags, and because deep nesting can crash a composer that recurses.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from vfio_compliance.common.project import at
from vfio_compliance.common.rule_names import RENAMED
from vfio_compliance.common.suggest import did_you_mean, similar
from vfio_compliance.common.words import counted, enumerated

LARGEST_FILE = 256 * 1024
DEEPEST = 16
LONGEST_QUOTE = 60
MOST_SUGGESTIONS = 50  # the search for similar words is slow, and junk must not start it thousands of times

SKIPPED = "!skipped"  # tag of a node that has been complained about already
STRING, NULL, BOOLEAN = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null", "tag:yaml.org,2002:bool"

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # the ends of a line in YAML 1.1
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Place(NamedTuple):
    """A position in a file; both count from 1, and 0:0 means the file as a whole."""

    line: int
    column: int


WHOLE_FILE = Place(0, 0)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a file."""

    file: str
    place: Place
    message: str
    text: str = field(default="", compare=False)  # the line of the file, for showing it

    def __str__(self) -> str:
        if self.place == WHOLE_FILE:
            return f"{self.file}: {self.message}"
        return f"{self.file}:{self.place.line}:{self.place.column}: {self.message}"


class ProfileError(Exception):
    """A profile or a plan cannot be used. `problems`: all of its errors, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.place)
        super().__init__("\n".join(map(str, self.problems)))


def place_of(item: Node | Event) -> Place:
    """Where a node or an event begins."""
    mark = item.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else WHOLE_FILE


def quoted(text: str) -> str:
    """A piece of the file for a message: short, on one line, safe for a terminal."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:LONGEST_QUOTE])
    return f"`{shown}{'...' if len(text) > LONGEST_QUOTE else ''}`"


def listed(words: Iterable[str], last: str = "or") -> str:
    """`a`, `b` or `c`."""
    return enumerated([f"`{word}`" for word in words], last)


@dataclass(frozen=True)
class Source:
    """The file that something was read from: what is needed to name a place in it later."""

    file: str = ""
    #: SHA-256 of its bytes in hexadecimal.
    digest: str = ""
    lines: tuple[str, ...] = ()
    #: The place of each key and each value, by its dotted path.
    keys: Mapping[str, Place] = field(default_factory=dict)
    values: Mapping[str, Place] = field(default_factory=dict)

    def where(self, dotted: str) -> str:
        """`file:line:column` of a key; for a key that is left out, of the nearest one around it, or of the start."""
        while dotted and dotted not in self.keys:
            dotted = dotted.rpartition(".")[0]
        line, column = self.keys.get(dotted, (1, 1))
        return f"{self.file}:{line}:{column}"

    def problem(self, dotted: str, message: str) -> Problem:
        """Something that is wrong with a value."""
        place = self.values.get(dotted, Place(1, 1))
        return Problem(self.file, place, message, self.lines[place.line - 1] if self.lines else "")

    def unknown_rules(self, named: Mapping[str, str], known: Collection[str]) -> list[Problem]:
        """A problem for each unknown rule; `named` has the rules by the dotted path of their names."""
        words = sorted(known)
        strangers = {dotted: rule for dotted, rule in named.items() if rule not in known}
        problems = []
        for count, (dotted, rule) in enumerate(strangers.items()):
            if now := RENAMED.get(rule):
                problems.append(self.problem(dotted, f"`{rule}` is called `{now}` now"))
                continue
            hint = did_you_mean(similar(rule, words)) if count < MOST_SUGGESTIONS else ""
            problems.append(self.problem(dotted, f"there is no rule {quoted(rule)}{hint}"))
        return problems


class Document:
    """The file being read, the problems found in it, and the place of each key and value.

    `keys` and `values` map a dotted path (`stimulus.error.0.write`) to the place of the key and of its value;
    `denied` has the paths for which the file says that the device has no such thing.
    """

    def __init__(self, file: str, what: str = "profile", start: str = "") -> None:
        """`what` the file holds, and how to `start` if it is empty, are for the messages."""
        self.file = file
        self.digest = ""
        self.problems: list[Problem] = []
        self.keys: dict[str, Place] = {}
        self.values: dict[str, Place] = {}
        self.denied: set[str] = set()
        self._what, self._start = what, start or f"{at('profiles/template.yaml')} is a start"
        self._lines: list[str] = []
        self._suggestions = 0

    def source(self) -> Source:
        """The part that is kept once the file has been read."""
        return Source(self.file, self.digest, tuple(self._lines), self.keys, self.values)

    def complain(self, place: Place | Node | Event, message: str) -> None:
        """Note a problem and continue."""
        at = place if isinstance(place, Place) else place_of(place)
        text = self._lines[at.line - 1] if 0 < at.line <= len(self._lines) else ""
        self.problems.append(Problem(self.file, at, message, text))

    def did_you_mean(self, word: str, known: Iterable[str], likeness: float = 0.6) -> str:
        """The end of a message: `; did you mean ...?` if a known word is similar, or nothing."""
        if self._suggestions >= MOST_SUGGESTIONS:
            return ""
        self._suggestions += 1
        return did_you_mean(similar(word, known, likeness))

    def tree(self) -> Node | None:
        """Read the file. Returns None, with the problems noted, if it holds no usable YAML document."""
        try:
            with open(self.file, "rb") as stream:
                content = stream.read(LARGEST_FILE + 1)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            self.complain(WHOLE_FILE, f"cannot be read: {getattr(error, 'strerror', None) or error}")
            return None
        if len(content) > LARGEST_FILE:
            self.complain(WHOLE_FILE, f"larger than {LARGEST_FILE // 1024} KiB; this is not a {self._what}")
            return None
        import hashlib  # loads OpenSSL, as slow as the rest of this package

        self.digest = hashlib.sha256(content).hexdigest()
        text = self._decode(content)
        return None if text is None else self._compose(text)

    def _decode(self, content: bytes) -> str | None:
        content = content.removeprefix(codecs.BOM_UTF8)
        problem = ""
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            text = content[: error.start].decode()
            problem = f"byte 0x{content[error.start]:02x}"
        if bad := _NOT_TEXT.search(text):
            text = text[: bad.start()]
            problem = f"character U+{ord(bad[0]):04X}"
        lines = _LINE_BREAK.split(text)
        if problem:
            self.complain(Place(len(lines), len(lines[-1]) + 1), f"not text in UTF-8 ({problem})")
            return None
        self._lines = lines
        return text

    def _compose(self, text: str) -> Node | None:
        loader = _LOADER(text)
        try:
            return self._first_document(loader, _events(loader))
        except yaml.MarkedYAMLError as error:
            self._syntax(error, text)
        except (ValueError, OverflowError):  # only the parser in Python lets these through
            mark = loader.get_mark()
            place = Place(mark.line + 1, mark.column + 1)
            self.complain(place, "YAML syntax: an escape sequence for a character that Unicode does not have")
        finally:
            loader.dispose()
        return None

    def _syntax(self, error: yaml.MarkedYAMLError, text: str) -> None:
        mark = error.problem_mark or error.context_mark
        # The parser reads ahead, and a newer one has its own limit of nesting: it may complain before the event comes.
        if mark and (place := _too_deep(text[: mark.index])):
            self._complain_of_depth(place)
            return
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        reason = " ".join(part for part in (error.context, error.problem) if part)
        if place.line > len(self._lines):  # the parser counts one line more if the last one has no line break
            place = Place(len(self._lines), len(self._lines[-1]) + 1)
        line = self._lines[place.line - 1]
        if "\t" in line[: len(line) - len(line.lstrip())]:
            reason += " (lines are indented with spaces, never with tabs)"
        self.complain(place, f"YAML syntax: {reason}")

    def _first_document(self, loader: Any, events: Iterator[Event]) -> Node | None:
        root: Node | None = None
        documents = 0
        open_nodes: list[Node] = []
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents == 2:
                    self.complain(event, f"a second document starts here; a file holds one {self._what}")
                    break
            elif isinstance(event, (SequenceEndEvent, MappingEndEvent)):
                open_nodes.pop()
            elif isinstance(event, (AliasEvent, ScalarEvent, SequenceStartEvent, MappingStartEvent)):
                node = self._node(loader, event)
                if open_nodes:
                    _adopt(open_nodes[-1], node)
                else:
                    root = node
                if isinstance(node, (SequenceNode, MappingNode)):
                    open_nodes.append(node)
                if len(open_nodes) > DEEPEST:
                    self._complain_of_depth(place_of(node))
                    return None
        if root is None or (root.tag == NULL and root.value == ""):
            self.complain(Place(1, 1), f"the file holds no {self._what}; {self._start}")
            return None
        return root

    def _complain_of_depth(self, place: Place) -> None:
        self.complain(place, f"nested more than {counted(DEEPEST, 'level')} deep")

    def _node(
        self,
        loader: Any,
        event: AliasEvent | ScalarEvent | SequenceStartEvent | MappingStartEvent,
    ) -> Node:
        begin: Any = event.start_mark  # Any: the stubs do not let nodes take the marks of the C parser
        end: Any = event.end_mark
        if isinstance(event, AliasEvent):
            self.complain(event, f"aliases such as {quoted(f'*{event.anchor}')} are not used; write the value out")
            return ScalarNode(SKIPPED, "", begin, end)
        if event.anchor is not None:
            self.complain(event, f"anchors such as {quoted('&' + event.anchor)} are not used; write the value out")
        if event.tag is not None:
            self.complain(event, f"tags such as {quoted(event.tag)} are not used")
        if isinstance(event, ScalarEvent):
            tag = loader.resolve(ScalarNode, event.value, event.implicit) if event.tag is None else SKIPPED
            return ScalarNode(tag, event.value, begin, end, event.style)
        kind = SequenceNode if isinstance(event, SequenceStartEvent) else MappingNode
        return kind("", [], begin, end)


def _events(loader: Any) -> Iterator[Event]:
    while True:
        event = loader.get_event()
        if isinstance(event, StreamEndEvent):
            return
        if not isinstance(event, StreamStartEvent):
            yield event


def _too_deep(text: str) -> Place | None:
    """Where a text is nested too deeply, or None if its events do not show that."""
    loader = _LOADER(text)
    depth = 0
    try:
        for event in _events(loader):
            depth += isinstance(event, (SequenceStartEvent, MappingStartEvent))
            depth -= isinstance(event, (SequenceEndEvent, MappingEndEvent))
            if depth > DEEPEST:
                return place_of(event)
    except (yaml.YAMLError, ValueError, OverflowError):
        pass
    finally:
        loader.dispose()
    return None


def _adopt(parent: Node, child: Node) -> None:
    """Append a node to a sequence, or as the next key or value to a mapping, which is a list of pairs."""
    if isinstance(parent, SequenceNode):
        parent.value.append(child)
    elif parent.value and parent.value[-1][1] is None:
        parent.value[-1] = (parent.value[-1][0], child)
    else:
        parent.value.append((child, None))
