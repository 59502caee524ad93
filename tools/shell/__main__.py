# SPDX-License-Identifier: GPL-2.0-only
"""Shell completions of commands and options, and the manual page, made from the program's parser.

`python tools/shell FOLDER` writes all of them to a folder. The manual page is kept here, and updated by
`python tools/shell`; the completions are not kept, because their frame is shtab's, with its own licence.
"""

from __future__ import annotations

import os
import re
import sys
from argparse import Action
from collections.abc import Iterator
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from vfio_compliance import __version__
from vfio_compliance.cli.main import parser
from vfio_compliance.cli.parser import Parser

#: The name of each shell's file, where possible the one that the shell looks for.
SHELLS = {"bash": "vfio-compliance.bash", "zsh": "_vfio-compliance", "tcsh": "vfio-compliance.tcsh"}
MANUAL = "vfio-compliance.1"

#: Arguments that name files, in addition to those of type Path.
_FILES = {"files", "listen", "connect"}

_MANUAL_HEAD = r""".\" SPDX-License-Identifier: GPL-2.0-only
.\" Made by `python tools/shell`. The self-tests compare.
"""


def completion(shell: str) -> str:
    """The file that a shell reads to complete the words of a call."""
    program = parser()
    for command in _commands(program):
        for action in command._actions:
            if action.type is Path or action.dest in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(program, shell)


def manual() -> str:
    """The manual page, in roff."""
    program = parser()
    said = program.description or ""
    codes = (program.epilog or "").removeprefix("exit codes: ")
    program.epilog = None
    assert program._subparsers
    program._subparsers.title = "commands"
    for command in _commands(program):
        # Text below the options in --help has no place of its own in the page.
        command.description = "\n\n".join(filter(None, (command.description, command.epilog)))
    page = Manpage(program, format="single-commands-section")
    page.description = said[:1].lower() + said[1:].rstrip(".")
    page.source, page.manual, page.date = f"vfio-compliance {__version__}", "User Commands", ""
    page.add_section("exit status", ">", codes)
    # Indented text is to be copied: its lines stay as they are.
    return _MANUAL_HEAD + re.sub(r"(?m)((?:^  .*\n)+)", r".nf\n\1.fi\n", str(page))


def _commands(program: Parser) -> Iterator[Parser]:
    """The parser of each command."""
    assert program._subparsers
    commands: Action = program._subparsers._group_actions[0]
    assert isinstance(commands.choices, dict)
    yield from commands.choices.values()


def main(folder: Path | None) -> None:
    """Write all files to a folder; without one, update the manual page."""
    os.environ["COLUMNS"] = "100000"  # no line is broken, however wide the terminal is
    for shell, name in SHELLS.items() if folder else ():
        Path(folder or "", name).write_text(completion(shell), encoding="utf-8")
    Path(folder or Path(__file__).parent, MANUAL).write_text(manual(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else None)
