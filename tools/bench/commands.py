# SPDX-License-Identifier: GPL-2.0-only
"""Cases of commands without a device: their start, reports of a run, the import of traces."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from measuring import Case, Clock, Cost, Effort, Row, beside, interleaved
from runs import command
from targets import OURS, c_program, of_process, of_processes
from vfio_compliance.results.writers import FORMATS

#: Commands that do almost nothing, and the smallest Python program.
_STARTED = (("--help",), ("list",), ("check", "profiles/reference.yaml"))
_NOTHING = "python -c pass"

#: Lines of strace: opening the device, an access, and other calls of a client.
_OPENED = (
    b'100 1795920226.100000 openat(AT_FDCWD, "/dev/vfio/14", O_RDWR) = 12 <0.000020>',
    b"100 1795920226.200000 ioctl(12, VFIO_GROUP_GET_DEVICE_FD, 0x558a6e4d9230) = 14 <0.000020>",
    rb'100 1795920226.300000 pwrite64(14, "\x03\x00\x00\x00", 4, 9895604649984) = 4 <0.000020>',
)
_ACCESS = rb'100 1795920237.026007 pread64(14, "\x19\x00\x01\x00\x00\x00\x00\x00", 8, 9895604649992) = 8 <0.000019>'
_OTHER = (
    b"101 1795920237.026043 futex(0x558a6d1d0e08, FUTEX_WAKE_PRIVATE, 1) = 0 <0.000011>",
    rb'101 1795920237.026052 read(5, "\x02\x00\x00\x00\x00\x00\x00\x00", 16) = 8 <0.000011>',
    b"102 1795920237.026099 ioctl(18, KVM_RUN, 0) = 0 <0.000311>",
)


def cases(effort: Effort, *, quick: bool) -> list[Case]:
    """All of them; ``quick`` ones use a smaller run and a shorter trace."""
    text = (10 << 20) if quick else (100 << 20)
    return [
        *(Case(f"start: {' '.join(words)}", partial(_start, effort, words)) for words in _STARTED),
        Case("reports of a run", partial(_reports, effort, "smoke" if quick else "ci")),
        Case("import of strace, one access in ten lines", partial(_import, effort, text, (_ACCESS, *_OTHER * 3))),
        Case("import of strace, accesses alone", partial(_import, effort, text, (_ACCESS,))),
    ]


def _nothing() -> Cost:
    return of_process([sys.executable, "-c", "pass"])


def _start(effort: Effort, words: Sequence[str]) -> Sequence[Row]:
    costs = interleaved({"ours": lambda: of_process([*OURS, *words]), _NOTHING: _nothing}, effort)
    name = f"start: {' '.join(words)}"
    return [beside(name, costs, "ours", _NOTHING), beside(name, costs, "ours", _NOTHING, Clock.CPU)]


def _reports(effort: Effort, plan: str) -> Sequence[Row]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        of_process(command(out, plan))
        wanted = {
            **{f"report --format {name}": ("report", str(out), "--format", name) for name in FORMATS},
            "diff of a run with itself": ("diff", str(out), str(out)),
        }
        ways = {name: partial(of_process, [*OURS, *words]) for name, words in wanted.items()}
        costs = interleaved({**ways, _NOTHING: _nothing}, effort)
    return [beside(f"{name}, plan {plan}", costs, name, _NOTHING, Clock.CPU) for name in wanted]


def _import(effort: Effort, size: int, lines: Sequence[bytes]) -> Sequence[Row]:
    """A trace of ``size`` bytes made of such lines, compared with a C program that reads them."""
    peak = 0
    with tempfile.TemporaryDirectory() as folder:
        text, trace = Path(folder, "strace"), Path(folder, "trace")
        piece = b"\n".join((*lines, b""))
        with text.open("wb") as file:
            file.write(b"\n".join((*_OPENED, b"")))
            for _ in range(size // len(piece)):
                file.write(piece)

        def ours() -> Cost:
            nonlocal peak
            trace.unlink(missing_ok=True)
            cost, most = of_processes([[*OURS, "import", "strace", str(text), "--trace", str(trace)]], watched=True)
            peak = max(peak, most)
            return cost

        costs = interleaved({"ours": ours, "C": lambda: of_process(c_program("lines", text))}, effort)
    what = "accesses alone" if len(lines) == 1 else "one access in ten lines"
    name = f"import of {size >> 20} MiB of strace, {what}"
    return [beside(name, costs, "ours", "C", Clock.CPU, note=f"at most {peak >> 10} MiB")]
