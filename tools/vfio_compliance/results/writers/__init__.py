# SPDX-License-Identifier: GPL-2.0-only
"""The formats of a report: each is a module here with ``render``, a pure function of the summary."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..summary import Summary

#: The formats by name; a module is loaded only if it is asked for.
FORMATS: Final = ("terminal", "json", "junit", "ktap", "kcidb", "markdown", "html")


def render(name: str, summary: Summary) -> str:
    """The result in one of FORMATS, as text that ends in a newline."""
    module = importlib.import_module(f".{name}", __name__)
    text: str = module.render(summary)
    return text if text.endswith("\n") else f"{text}\n"
