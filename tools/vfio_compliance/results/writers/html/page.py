# SPDX-License-Identifier: GPL-2.0-only
"""Pages that are one file each: they fetch nothing, and what a device said is shown as text only."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any, Final

import jinja2
from markupsafe import Markup

from ....common.words import counted, printable_lines

#: How many characters of a text are shown.
LONGEST: Final = 2000

#: What may be in an address as it is. Each rule has a dot in its name, and no other id of a page has one.
_ANCHOR: Final = re.compile(r"[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)+")

_ADDRESS: Final = re.compile(r"https?://[!-~]+")


def anchor(rule: str) -> str:
    """The id of a rule in a page: its name, unless an address cannot have that."""
    if _ANCHOR.fullmatch(rule) and len(rule) < LONGEST:
        return rule
    return f"rule-{hashlib.sha256(rule.encode('utf-8', 'backslashreplace')).hexdigest()[:16]}"


def shown(value: object) -> object:
    """What a page shows: every character visible; for a long text, the beginning and the length."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return "" if value is None else value
    if len(value) <= LONGEST:
        return printable_lines(value)
    return f"{printable_lines(value[:LONGEST])} ... (cut: {counted(len(value), 'character', ',')} in all)"


def is_address(text: str) -> bool:
    """Whether a text can be a link."""
    return bool(_ADDRESS.fullmatch(text))


def rendered(template: str, **values: Any) -> str:
    """A page from its template. Its policy allows only its own script, and no fetches."""
    style, script = (Markup(_file(name)) for name in ("style.css", "page.js"))
    policy = f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    return _TEMPLATES.get_template(template).render(style=style, script=script, policy=policy, **values)


def _file(name: str) -> str:
    assert _TEMPLATES.loader
    return _TEMPLATES.loader.get_source(_TEMPLATES, name)[0]


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


_TEMPLATES: Final = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__ or "", "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=shown,
)
_TEMPLATES.globals.update(anchor=anchor, counted=counted, is_address=is_address)
