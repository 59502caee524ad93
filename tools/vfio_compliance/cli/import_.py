# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance import KIND FILE`: make a trace that can be judged from another tool's recording."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.words import counted
from ..common.wrap import wrap
from ..results.verdict import EXIT_OK
from .checkout import Complaint, width
from .parser import Commands

_EPILOG = """\
To record a client of a device behind a kernel:

  calls=open,openat,close,close_range,dup,dup2,dup3,fcntl,ioctl,pread64,pwrite64,preadv,pwritev,mmap
  calls=$calls,clone,clone3,fork,vfork,execve,sendmsg,recvmsg
  strace -f --seccomp-bpf -ttt -T -xx -s 64 -e trace=$calls -o FILE COMMAND

To record QEMU by its own events: -trace 'vfio_*' -D FILE.

What such a file does not show is marked in the trace, and notes say what had to be guessed. Make one trace for the
source of a migration and one for the target.
"""

#: What records are called, in the order in which they are listed.
_NOUNS = {
    **{each: each for each in ("open", "read", "write", "map", "reset", "dma-map", "dma-unmap")},
    "dirty": "dirty page request",
    "gap": "gap",
    "close": "close",
}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "import",
        help="make a trace from a recording by strace or QEMU",
        description="Make a trace from another tool's recording, for vfio-compliance judge.",
        epilog=_EPILOG,
    )
    option = parser.add_argument
    option("kind", choices=("strace", "qemu"), help="the tool that wrote the file: strace 5 or 6, or QEMU 5.2 to 7.2")
    option("file", type=Path, help="the file; for strace -ff, its name without the thread numbers")
    option("--trace", type=Path, metavar="OUT", help="new file for the trace (default: FILE.trace)")
    option("--region", type=_index, help="index of the migration region, if its use does not show it")
    option(
        "--region-at",
        type=_offset,
        metavar="OFFSET",
        help="with strace: offset of the migration region in the device's file, if not its index << 40",
    )
    parser.set_defaults(carry_out=carry_out)


def _index(text: str) -> int:
    """Raises argparse.ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or int(text[:11]) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not the index of a region")
    return int(text)


def _offset(text: str) -> int:
    """Raises argparse.ArgumentTypeError."""
    try:
        offset = int(text[:40], 0)
    except ValueError:
        offset = -1
    if not 0 <= offset < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a file offset such as 0x300000")
    return offset


def carry_out(arguments: argparse.Namespace) -> int:
    """Make the trace; 0 if it was made."""
    from ..clients.importers.command import import_qemu, import_strace
    from ..clients.trace import TraceError
    from ..run.actions.process import printable

    if arguments.region_at is not None and arguments.kind != "strace":
        raise Complaint("--region-at is for strace: QEMU's events name regions by their index")
    file: Path = arguments.file
    trace: Path = arguments.trace or file.with_name(f"{file.name}.trace")
    try:
        if arguments.kind == "strace":
            imported = import_strace(file, trace, arguments.region, arguments.region_at)
        else:
            imported = import_qemu(file, trace, arguments.region)
    except TraceError as error:
        raise Complaint(str(error)) from None
    columns = width()
    counts = ", ".join(counted(imported.counts[verb], noun) for verb, noun in _NOUNS.items() if imported.counts[verb])
    print("\n".join(wrap("", f"{trace}: {counts or 'nothing was done to a VFIO device'}", columns)))
    for note in imported.notes:
        print("\n".join(wrap("note  ", printable(note), columns)))
    return EXIT_OK
