# SPDX-License-Identifier: GPL-2.0-only
"""What servers on the reference device share: their command line, and how they replace a part of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple
from unittest import mock

from refdriver import __main__ as program


class Words(NamedTuple):
    """A command line: SOCKET, words, and options of the reference driver in between."""

    path: str
    words: list[str]
    options: list[str]


def command_line() -> Words:
    """That of this process."""
    path, *rest = sys.argv[1:]
    options = [word for word in rest if word.startswith("--")]
    return Words(path, [word for word in rest if word not in options], options)


def serve(path: str, options: Sequence[str], replaced: Mapping[tuple[object, str], object]) -> int:
    """Run the reference driver; ``replaced`` has other values for attributes of its modules and classes."""
    with ExitStack() as patches:
        for (owner, name), value in replaced.items():
            patches.enter_context(mock.patch.object(owner, name, value))
        return program.main([f"--socket-path={path}", *options])
