# SPDX-License-Identifier: GPL-2.0-only
"""strace's record of a client becomes a trace, with any options; what it does not show is a gap, or unknown."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from strace_text import (
    AT,
    DEVICE,
    DIRTY_PAGES,
    GET_DEVICE_FD,
    GROUP,
    OPEN_FLAGS,
    PLACE,
    Call,
    Data,
    Fd,
    Named,
    Options,
    Text,
    access,
    opened,
    session,
    state,
)

from vfio_compliance.cli.main import main
from vfio_compliance.clients.importers.command import import_strace
from vfio_compliance.clients.trace import Reader, Record, TraceError

if TYPE_CHECKING:
    from tests.clients.conftest import Import

CLONE = "flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_THREAD, child_tid=0x7f"
FORK = "child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7f"


@pytest.fixture
def imported(import_by: Import) -> Import:
    """Imports a text of strace."""
    return partial(import_by, import_strace, "strace")


def without_format(records: list[Record]) -> list[tuple[Any, ...]]:
    """The records without the fields that depend on strace's options."""
    return [each._replace(line=0, time=0.0, took=0) for each in records if each.verb != "region"]


def verbs(records: list[Record]) -> list[str]:
    """The verbs of all records but the region's."""
    return [each.verb for each in records if each.verb != "region"]


def written(calls: list[Call], **options: Any) -> str:
    """The calls as strace writes them."""
    return Text(Options(**options)).write(calls)


MATRIX = [
    *(
        Options(*each, paths=2, hex=0)
        for each in itertools.product(
            ("number", "pid", ""), ("ttt", "tt", "t", "r", ""), (True, False), (False, True), (False,)
        )
    ),
    *(
        Options(names=names, paths=paths, hex=hexed, split=split, number=number)
        for names, paths, hexed, split, number in itertools.product(
            ("abbrev", "raw", "verbose"), (0, 1, 2), (0, 1, 2), (False, True), (False, True)
        )
    ),
]


@pytest.mark.parametrize("options", MATRIX, ids=str)
def test_every_format_gives_the_same_trace(imported: Import, options: Options) -> None:
    """The options of strace change how a call is written, but not its record in the trace."""
    made, records = imported(Text(options).write(session()))
    _, plain = imported(written(session()))
    assert without_format(records) == without_format(plain)
    assert verbs(records) == ["open", "reset", *["read", "write"], *["read"] * 5, "read", "write", "close"]
    assert [each.about for each in records if each.about] == [(9, 0, (), True)]
    assert records[8].data == b'a"\\\n\0 b),= 3\x7f\xff\x001'
    assert not any("gap" in each for each in made.counts)


@pytest.mark.parametrize(
    ("time", "first", "second"),
    [("ttt", 0.0, 0.25), ("tt", 0.0, 0.25), ("r", 0.0, 0.25), ("t", 0.0, 1.0), ("", 0.0, 0.0)],
)
def test_times_begin_at_the_first_access(imported: Import, time: str, first: float, second: float) -> None:
    """In seconds; without times in the file, all are 0."""
    _, records = imported(written(session(), time=time))
    open_, reset = records[1:3]
    assert (open_.time, reset.time) == (first, second)
    assert reset.took == 20


def test_times_of_day_continue_after_midnight(imported: Import) -> None:
    text = Text(Options(time="tt"), clock=86399.6)
    _, records = imported(text.write(session()))
    times = [each.time for each in records[1:]]
    assert times == sorted(times)
    assert times[-1] == 2.75


@pytest.mark.parametrize(
    "request_as", ["VFIO_DEVICE_RESET", "0x3b6f", "_IOC(_IOC_NONE, 0x3b, 0x6f, 0)", "_IO(0x3b, 111)"]
)
def test_requests_by_name_number_and_macro(imported: Import, request_as: str) -> None:
    """Versions of strace differ."""
    _, records = imported(written([*opened(), Call(100, "ioctl", (DEVICE, request_as, 0)), *state(0)]))
    assert verbs(records) == ["open", "reset", "read", "write"]


def test_a_string_that_was_cut_is_partly_unknown(imported: Import) -> None:
    """Its first bytes are kept, up to 64."""
    data = bytes(range(200))
    call = Call(100, "pread64", (DEVICE, Data(data, 100), 200, PLACE + 0x1000), "200")
    _, records = imported(written([*opened(), *state(2), call]))
    assert records[-1].unknown
    assert (records[-1].data, records[-1].length, records[-1].value) == (data[:64], 200, 200)


def test_a_long_complete_string_has_its_digest(imported: Import) -> None:
    """If -s is at least the size of the largest buffer, content can be judged."""
    data = bytes(range(200))
    _, records = imported(written([*opened(), *state(2), access("pread64", 0x1000, data)]))
    assert (records[-1].sha256, records[-1].unknown) == (hashlib.sha256(data).hexdigest(), False)


@pytest.mark.parametrize(
    ("result", "value", "errno"),
    [
        ("-1 EINVAL (Invalid argument)", -1, 22),
        ("2", 2, 0),
        ("0", 0, 0),
        ("-1 EIO (Input/output error) (INJECTED)", -1, 5),
    ],
)
def test_result_of_a_call(imported: Import, result: str, value: int, errno: int) -> None:
    """The number of bytes, or an error."""
    _, records = imported(written([*opened(), access("pread64", 0, bytes(4), result=result)]))
    assert (records[-1].value, records[-1].errno) == (value, errno)


def test_a_restarted_call_counts_once(imported: Import) -> None:
    """A signal came before the kernel called the driver."""
    again = access("pwrite64", 0, b"\2\0\0\0", result="? ERESTARTSYS (To be restarted if SA_RESTART is set)")
    _, records = imported(written([*opened(), *state(2)[:1], again, state(2)[1]]))
    assert verbs(records) == ["open", "read", "write"]


def test_a_call_that_never_returned_is_a_gap(imported: Import) -> None:
    """The process was killed in it, so it is unknown whether the call took effect."""
    _, records = imported(written([*opened(), *state(2), access("pwrite64", 0, b"\0\0\0\0", result="?")]))
    assert verbs(records)[-1] == "gap"
    assert "is unknown" in records[-1].why


def test_vectors_are_an_access_for_each_buffer(imported: Import) -> None:
    """As the kernel passes them to a driver, up to the first incomplete one."""
    vector = r'[{iov_base="\1\0\0\0", iov_len=4}, {iov_base="{=,]\0\0\0\0", iov_len=8}, {iov_base="a{,=", iov_len=3}]'
    for name, verb in (("pwritev", "write"), ("preadv", "read")):
        call = Call(100, name, (DEVICE, vector, 3, PLACE + 0x1000), "8")
        _, records = imported(written([*opened(), *state(2), call]))
        assert [(each.verb, each.offset, each.length, each.value) for each in records[-2:]] == [
            (verb, 0x1000, 4, 4),
            (verb, 0x1004, 8, 4),
        ]
        assert (records[-2].data, records[-1].data[:4]) == (b"\1\0\0\0", b"{=,]")
        _, records = imported(written([*opened(), *state(2), call._replace(result="-1 EFAULT (Bad address)")]))
        assert [(each.verb, each.value, each.errno) for each in records[-1:]] == [(verb, -1, 14)]
        _, records = imported(written([*opened(), *state(2), call._replace(result="?")]))
        assert "is unknown" in records[-1].why


# Descriptors


@pytest.mark.parametrize(
    "copy",
    [
        Call(100, "dup", (DEVICE,), "20"),
        Call(100, "dup2", (DEVICE, 20), "20"),
        Call(100, "dup3", (DEVICE, 20, Named("O_CLOEXEC", 0o2000000)), "20"),
        Call(100, "fcntl", (DEVICE, Named("F_DUPFD", 0), 20), "20"),
        Call(100, "fcntl", (DEVICE, Named("F_DUPFD_CLOEXEC", 1030), 20), "20"),
    ],
    ids=lambda call: call.name,
)
def test_copies_are_the_same_device(imported: Import, copy: Call) -> None:
    """The device is closed with the last of its descriptors."""
    twin = Fd(20, DEVICE.path)
    calls = [*opened(), copy, Call(100, "close", (DEVICE,)), *state(2, fd=twin), Call(100, "close", (twin,))]
    _, records = imported(written(calls))
    assert verbs(records) == ["open", "read", "write", "close"]
    assert {each.device for each in records} == {0}


@pytest.mark.parametrize("end", ["+++ exited with 0 +++", "+++ killed by SIGKILL +++"])
def test_the_end_of_a_process_closes_its_devices(imported: Import, end: str) -> None:
    """With its last thread; a copy in a forked process keeps them open."""
    text = Text(Options())
    text.write([*opened(), Call(100, "clone", (CLONE,), "101"), Call(100, "fork", (), "102")])
    text.write(state(2, pid=101))
    for pid in (100, 101):
        text.line(pid, end)
    _, records = imported(text.write(state(0, pid=102)))
    assert verbs(records) == ["open", *["read", "write"] * 2]
    text.line(102, end)
    _, records = imported(text.write([]))
    assert verbs(records)[-1] == "close"


def test_exec_closes_the_device(imported: Import) -> None:
    """The kernel returns the descriptor with close-on-exec set; F_SETFD clears that."""
    exec_ = Call(102, "execve", (Data(b"/bin/cat"), "[]", "0x7f /* 9 vars */"))
    forked = [*opened(), Call(100, "clone", (FORK,), "102")]
    _, records = imported(written([*forked, exec_, access("pread64", 0, bytes(4), pid=102, result="-1 EBADF (Bad)")]))
    assert verbs(records) == ["open"]
    kept = Call(102, "fcntl", (DEVICE, Named("F_SETFD", 2), 0))
    _, records = imported(written([*forked, kept, exec_, *state(2, pid=102)]))
    assert verbs(records) == ["open", "read", "write"]


def test_a_forked_process_has_a_table_of_its_own(imported: Import) -> None:
    """A descriptor that it closes stays open in its parent, and the number may become another file."""
    calls = [*opened(), Call(100, "clone", (FORK,), "102"), Call(102, "close", (DEVICE,))]
    other = Fd(14, "/tmp/file")
    calls += [Call(102, "openat", (AT, Data(b"/tmp/file"), OPEN_FLAGS), "14")]
    calls += [Call(102, "pread64", (other, Data(b"abcd"), 4, 0), "4"), *state(2)]
    _, records = imported(written(calls))
    assert verbs(records) == ["open", "read", "write"]


def test_a_child_is_seen_before_its_parent_returns(imported: Import) -> None:
    """The flags in the unfinished clone say whose descriptors the new thread has."""
    text = Text(Options())
    text.write(opened())
    text.line(100, f"clone3({{{CLONE}}} <unfinished ...>")
    text.write(state(2, pid=101))
    text.line(100, "<... clone3 resumed> => {parent_tid=[101]}, 88) = 101 <0.002304>")
    _, records = imported(text.write(state(0, pid=101)))
    assert verbs(records) == ["open", *["read", "write"] * 2]


def test_a_thread_that_began_unseen(imported: Import) -> None:
    """It counts as one of the first process; a note says so."""
    made, records = imported(written([*opened(), *state(2, pid=101)]))
    assert verbs(records) == ["open", "read", "write"]
    assert any("1 thread began unseen" in note for note in made.notes)


def test_exec_by_a_thread(imported: Import) -> None:
    """It takes the number of its process."""
    text = Text(Options())
    text.write([*opened(), Call(100, "fcntl", (DEVICE, Named("F_SETFD", 2), 0)), Call(100, "clone", (CLONE,), "101")])
    text.line(101, 'execve("/bin/client", ["client"], 0x7f /* 9 vars */ <pid changed to 100 ...>')
    text.line(100, "+++ superseded by execve in pid 101 +++")
    text.line(100, "<... execve resumed>) = 0")
    _, records = imported(text.write(state(2)))
    assert verbs(records) == ["open", "read", "write"]


def close_range(flags: str) -> Call:
    """Of all descriptors from 3."""
    return Call(100, "close_range", (3, 4294967295, flags))


@pytest.mark.parametrize("flags", ["0", "CLOSE_RANGE_UNSHARE"])
def test_close_range(imported: Import, flags: str) -> None:
    _, records = imported(written([*opened(), close_range(flags)]))
    assert verbs(records) == ["open", "close"]


def test_close_range_at_exec(imported: Import) -> None:
    """Until then, the device stays open."""
    _, records = imported(written([*opened(), close_range("CLOSE_RANGE_CLOEXEC"), *state(2)]))
    assert verbs(records) == ["open", "read", "write"]


def test_a_descriptor_sent_to_another_process(imported: Import) -> None:
    """It may be used there unseen; if its use is seen, it is the same device."""
    message = (
        '{msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="x", iov_len=1}], msg_iovlen=1, msg_control=[{cmsg_len=20, '
        "cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[14]}], msg_controllen=24, msg_flags=0}"
    )
    sent = Call(100, "sendmsg", (Fd(6, "socket:[1]"), message, 0), "1")
    _, records = imported(written([*opened(), sent]))
    assert "SCM_RIGHTS" in records[-1].why
    calls = [*opened(), Call(100, "fork", (), "102"), Call(102, "close", (DEVICE,)), sent]
    calls += state(2, pid=102, fd=Fd(9, DEVICE.path))
    _, records = imported(written(calls))
    assert verbs(records) == ["open", "gap", "gap", "read", "write"]
    assert {each.device for each in records} == {0}


@pytest.mark.parametrize("paths", [0, 1, 2])
def test_recording_began_in_the_middle(imported: Import, paths: int) -> None:
    """A device opened earlier is recognised by the calls to it; the gap says that the beginning is missing."""
    _, records = imported(written(session()[3:], paths=paths))
    assert verbs(records)[:2] == ["gap", "reset"]
    assert "opened before the recording" in records[1].why
    _, records = imported(written(session()[4:], paths=paths))
    assert verbs(records)[:3] == ["gap", "read", "write"]


def test_two_devices(imported: Import) -> None:
    """Each has its own number."""
    second = Fd(15, DEVICE.path)
    calls = [*opened(), Call(100, "openat", (AT, Data(b"/dev/vfio/15"), OPEN_FLAGS), "11")]
    calls += [Call(100, "ioctl", (Fd(11, "/dev/vfio/15"), GET_DEVICE_FD, "0x5"), "15")]
    calls += [*state(2), *state(4, fd=second)]
    _, records = imported(written(calls))
    assert [each.device for each in records if each.verb != "region"] == [0, 1, 0, 0, 1, 1]
    assert sorted(each.device for each in records if each.about) == [0, 1]


def test_a_device_that_is_opened_again_is_the_same(imported: Import) -> None:
    """It is from the same group, and was closed."""
    again = [Call(100, "close", (DEVICE,)), Call(100, "ioctl", (GROUP, GET_DEVICE_FD, "0x5"), "14")]
    made, records = imported(written([*opened(), *state(2), *again, *state(1)]))
    assert {each.device for each in records} == {0}
    assert not any("two devices" in note for note in made.notes)


def test_two_descriptors_from_one_group(imported: Import) -> None:
    """The file has no names, so they count as two devices; a note says so."""
    made, records = imported(written([*opened(), Call(100, "ioctl", (GROUP, GET_DEVICE_FD, "0x5"), "15"), *state(2)]))
    assert [each.device for each in records if each.verb == "open"] == [0, 1]
    assert any("counted as two devices" in note for note in made.notes)


# What strace does not show


def test_mappings(imported: Import) -> None:
    """Mappings of the device's file; accesses through them are not in a trace."""
    flags = (Named("PROT_READ|PROT_WRITE", 3), Named("MAP_SHARED", 1))
    made = Call(100, "mmap", ("NULL", 16384, *flags, DEVICE, hex(PLACE + 0x1000)), "0x7fd0c52f8000")
    failed = made._replace(result="-1 EINVAL (Invalid argument)")
    anonymous = Call(100, "mmap", ("NULL", 16384, *flags, -1, 0), "0x7fd0c52f8000")
    _, records = imported(written([*opened(), made, failed, anonymous, *state(2)]))
    maps = [(each.region, each.offset, each.length, each.value, each.errno) for each in records if each.verb == "map"]
    assert maps == [(9, 0x1000, 0x4000, 0, 0), (9, 0x1000, 0x4000, -1, 22)]


def test_calls_of_the_container_have_no_arguments(imported: Import) -> None:
    """Only the request and its result are known."""
    calls = [
        Call(100, "ioctl", (Fd(13, "/dev/vfio/vfio"), DIRTY_PAGES, "0x7f"), result) for result in ("0", "-1 EINVAL (x)")
    ]
    _, records = imported(written([*opened(), *calls, *state(2)]))
    found = [each for each in records if each.verb == "dirty"]
    assert [(each.value, each.errno) for each in found] == [(0, 0), (-1, 22)]
    assert all(each.called and each.called.argsz is None for each in found)


def test_reads_at_the_position_of_the_file(imported: Import) -> None:
    """The position is not followed, so the read is a gap."""
    _, records = imported(written([*opened(), Call(100, "read", (DEVICE, Data(b"abcd"), 4), "4"), *state(2)]))
    assert "position" in records[2].why


def test_a_hot_reset(imported: Import) -> None:
    """The interface does not cover it, so it is a gap."""
    hot = Call(100, "ioctl", (DEVICE, Named("VFIO_DEVICE_PCI_HOT_RESET or VFIO_IOMMU_MAP_DMA", 0x3B71), "0x7f"))
    _, records = imported(written([*opened(), hot, *state(2)]))
    assert "HOT_RESET" in records[2].why


# The migration region


def test_the_migration_region_is_guessed_by_its_use(imported: Import) -> None:
    """It is not a BAR with other registers or whose first one does not hold a state; a note says that it is a guess."""
    bar = [
        Call(100, "pread64", (DEVICE, Data(b"\xf4\x1a\0\0"), 4, 0), "4"),
        Call(100, "pwrite64", (DEVICE, Data(bytes(8)), 8, 8), "8"),
        Call(100, "pread64", (DEVICE, Data(bytes(8)), 8, 2 << 40 | 4), "8"),
        Call(100, "pread64", (DEVICE, Data(bytes(4)), 4, 2 << 40), "4"),
    ]
    made, records = imported(written([*opened(), *bar, *session()[3:]]))
    assert [each.about for each in records if each.about] == [(9, 0, (), True)]
    assert any("region 9 of device 0 is used as the migration region" in note for note in made.notes)


def test_two_regions_used_alike(imported: Import, tmp_path: Path) -> None:
    """The user has to name one; no trace is left."""
    other = [call._replace(arguments=(*call.arguments[:3], call.arguments[3] - (1 << 40))) for call in state(2)]
    text = written([*opened(), *state(2), *other])
    with pytest.raises(TraceError, match="region 8 or region 9 may be the migration region; name it with --region"):
        imported(text)
    assert not (tmp_path / "trace").exists()
    made, records = imported(text, region=8)
    assert [each.about.region for each in records if each.about] == [8]
    assert made.notes == []


def test_a_region_at_another_place(imported: Import) -> None:
    """Drivers place their regions anywhere in the file."""
    calls = [call._replace(arguments=(*call.arguments[:3], call.arguments[3] - PLACE + 0x300000)) for call in state(2)]
    config = Call(100, "pread64", (DEVICE, Data(bytes(4)), 4, 0x40), "4")
    _, records = imported(written([*opened(), config, *calls]), region_at=0x300000)
    assert [each.about.region for each in records if each.about] == [0]
    assert [(each.region, each.offset) for each in records[2:]] == [(1, 0x40), (0, 0), (0, 0)]


def test_a_region_that_was_not_used(imported: Import) -> None:
    """If the client did not use the region that the user names, it is probably the wrong one."""
    made, _ = imported(written([*opened(), *state(2)]), region=5)
    assert made.notes == ["region 5 of device 0 was not used as a migration region is used"]


def test_reasons_of_gaps(imported: Import) -> None:
    """The notes have the first reasons, and the number of gaps."""
    made, records = imported(written([*opened(), *[Call(100, "read", (DEVICE, Data(bytes(4)), 4), "4")] * 5]))
    assert verbs(records).count("gap") == 5
    assert sum("at the file's position" in note for note in made.notes) == 3
    assert "5 gaps in all, each with its reason in the trace" in made.notes


def test_nothing_of_vfio(imported: Import) -> None:
    """The trace has no records."""
    made, records = imported(written([Call(100, "close", (Fd(3, "/etc/passwd"),)), Call(100, "dup", (3,), "4")]))
    assert (records, made.counts.total()) == ([], 0)


# Files for each thread


def test_files_of_threads(tmp_path: Path) -> None:
    """The files that -ff makes are merged by their times."""
    for pid, calls in ((100, [*opened(), Call(100, "clone", (CLONE,), "101")]), (101, state(2, pid=101))):
        text = Text(Options(thread=""), clock=1795920226.0 + pid)
        (tmp_path / f"log.{pid}").write_text(text.write(calls))
    import_strace(tmp_path / "log", tmp_path / "trace")
    assert verbs([*Reader(tmp_path / "trace")]) == ["open", "read", "write", "end"]


def test_files_of_threads_without_times(tmp_path: Path) -> None:
    """They cannot be merged."""
    for pid in (100, 101):
        (tmp_path / f"log.{pid}").write_text(written(session(pid), thread="", time=""))
    with pytest.raises(
        TraceError, match=r"log\.\*: the files of several threads need the time .* record with -ttt -T, or -f"
    ):
        import_strace(tmp_path / "log", tmp_path / "trace")


# Bad input


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "strace: the file is empty"),
        (b"\x7fELF\2\1\1\0\0\0", "strace:1: not a text file: 6 control characters at its beginning"),
        (b"hello\nworld\n", "strace:1: not written by strace: only 0 lines with a system call"),
        (b'{"trace":"vfio-compliance"}\n', "strace:1: not written by strace"),
    ],
)
def test_files_of_other_programs(imported: Import, text: bytes, complaint: str) -> None:
    """An error that names the file."""
    with pytest.raises(TraceError, match=complaint):
        imported(text)


def test_a_missing_file(tmp_path: Path) -> None:
    """Neither the file nor one for a thread exists."""
    with pytest.raises(TraceError, match="no such file, nor one with a thread"):
        import_strace(tmp_path / "nothing", tmp_path / "trace")


def test_a_pipe(tmp_path: Path) -> None:
    """It is refused, because reading it might never end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TraceError, match="pipe: a pipe, but this has to be read twice; write it to a file first"):
        import_strace(tmp_path / "pipe", tmp_path / "trace")


def test_an_existing_trace_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(written(session()))
    (tmp_path / "trace").write_text("precious")
    with pytest.raises(TraceError, match="exists already"):
        import_strace(tmp_path / "log", tmp_path / "trace")
    assert (tmp_path / "trace").read_text() == "precious"


def test_a_file_that_was_cut(imported: Import) -> None:
    """Its incomplete last line is a gap."""
    text = written(session())
    _, records = imported(text[: text.rindex("pwrite64") + 20])
    assert verbs(records)[-1] == "gap"
    assert records[-1].why == "line 13: pwrite64 cannot be read whole"


def test_a_line_of_many_mebibytes(imported: Import) -> None:
    """It is a gap."""
    text = written([*opened(), *state(2)]).encode()
    long = b'100 1795920300.000000 pread64(14, "' + b"\\x00" * (5 << 20) + b'", 5242880, 9895604654080) = 5242880\n'
    _, records = imported(text + long + written(state(0)).encode())
    assert verbs(records) == ["open", "read", "write", "gap", "read", "write"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It reports the result and the guesses; `judge` accepts the trace."""
    (tmp_path / "log").write_text(written(session()))
    assert main(["import", "strace", str(tmp_path / "log")]) == 0
    output = capsys.readouterr().out
    assert "log.trace: 1 open, 7 reads, 2 writes, 1 reset, 1 close" in " ".join(output.split())
    assert "note  region 9 of device 0" in output
    assert json.loads((tmp_path / "log.trace").read_text().splitlines()[0])["maps"] == "seen"
    assert main(["judge", str(tmp_path / "log.trace")]) == 0
    assert main(["import", "strace", str(tmp_path / "log")]) == 2
    assert "exists already" in capsys.readouterr().err
