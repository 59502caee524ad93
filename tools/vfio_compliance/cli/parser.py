# SPDX-License-Identifier: GPL-2.0-only
"""The parser of the program and of each of its commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any, TypeAlias

from ..common.suggest import did_you_mean, similar
from ..common.wrap import wrap

#: The number of unknown options for which similar ones are suggested.
_MOST_COMPARED = 3

#: What each command adds its own parser to.
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


class _Paragraphs(argparse.HelpFormatter):
    """Keeps paragraphs apart, and leaves indented ones as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.rstrip().split("\n\n")
        return "\n\n".join(
            each if each.startswith(" ") else "\n".join(wrap(indent, " ".join(each.split()), width))
            for each in paragraphs
        )


class Parser(argparse.ArgumentParser):
    """Takes no abbreviated options; an error shows the command's own usage and suggests what was meant."""

    #: The name under which a command gets the words after a lone ``--``; empty: it takes none.
    rest = ""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Paragraphs, **options)

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """No word may be unknown: a command's own parser is called through this method, too."""
        words, after = [*(sys.argv[1:] if args is None else args)], []
        if self.rest and "--" in words:
            place = words.index("--")
            words, after = words[:place], words[place + 1 :]
        arguments, unknown = super().parse_known_args(words, namespace)
        if self.rest:
            setattr(arguments, self.rest, after)
        if unknown:
            options = [word.partition("=")[0] for word in unknown if word.startswith("-")]
            meant = (similar(option, self._option_string_actions) for option in options[:_MOST_COMPARED])
            self.error(f"unrecognized arguments: {' '.join(unknown)}{did_you_mean(*meant)}")
        return arguments, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Called for each value of an argument with choices, such as the command."""
        if action.choices is not None and value not in action.choices:
            known = ", ".join(action.choices)
            hint = did_you_mean(similar(str(value), action.choices))
            raise argparse.ArgumentError(action, f"invalid choice: {value!r} (choose from {known}){hint}")
