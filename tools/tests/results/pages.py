# SPDX-License-Identifier: GPL-2.0-only
"""Pages as trees, by the parser of the standard library: what can be checked without a browser."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from html.parser import HTMLParser
from xml.etree.ElementTree import Element

VOID = {"meta", "br", "input", "link", "img", "hr"}


class _Tree(HTMLParser):
    """Asserts that each element is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.root = ET.Element("page")
        self.open = [self.root]

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        made = ET.SubElement(self.open[-1], tag, {name: value or "" for name, value in attributes})
        if tag not in VOID:
            self.open.append(made)

    def handle_startendtag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        ET.SubElement(self.open[-1], tag, {name: value or "" for name, value in attributes})

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        here = self.open[-1]
        if len(here):
            here[-1].tail = (here[-1].tail or "") + data
        else:
            here.text = (here.text or "") + data


def tree(page: str) -> Element:
    """The page. Raises AssertionError if elements are not closed in reverse order."""
    parser = _Tree()
    parser.feed(page)
    parser.close()
    assert parser.open == [parser.root]
    return parser.root


def text(element: Element | None) -> str:
    """Its text, on one line."""
    assert element is not None
    return " ".join("".join(element.itertext()).split())


def at(root: Element, path: str) -> Element:
    """The first element at this path."""
    found = root.find(path)
    assert found is not None
    return found


def links(root: Element) -> list[str]:
    """The addresses of the links in it."""
    return [each.get("href", "") for each in root.iter("a")]


def by_id(root: Element, wanted: str) -> Element:
    """The element with this id."""
    (found,) = [each for each in root.iter() if each.get("id") == wanted]
    return found


def part(root: Element, name: str) -> Element:
    """The section with this heading's id."""
    (found,) = [each for each in root.iter("section") if each.get("aria-labelledby") == name]
    return found


def pairs(element: Element) -> list[tuple[str, str]]:
    """Names and values of the description lists in it."""
    found = [pair for pair in element.iter("div") if pair.find("dt") is not None]
    return [(text(pair.find("dt")), text(pair.find("dd"))) for pair in found]


def cells(row: Element) -> list[str]:
    """The content of each cell of a row."""
    return [text(cell) for cell in row if cell.tag in ("td", "th")]
