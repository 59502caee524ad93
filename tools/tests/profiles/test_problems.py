# SPDX-License-Identifier: GPL-2.0-only
"""Every kind of mistake in a profile: its message, and its place.

§ precedes the place that a problem must name, and is removed before loading.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vfio_compliance.profiles import ProfileError, document, load
from vfio_compliance.sections import PROFILE

MARK = "§"
PARTS = {
    "format": "format: 1",
    "name": "name: device",
    "interfaces": "interfaces: [migration_v1]",
    "device": "device: {transport: vfio-user, socket: /run/s}",
    "limits": "limits: {}",
}


#: The first of many keys in a message.
MANY_KEYS = "`k0`, `k1`, `k2`, `k3`, `k4`, `k5`, `k6` and `k7`"


def with_part(text: str) -> str:
    """A small profile in which one part, named by the first key, is replaced or added."""
    return "\n".join({**PARTS, text.replace(MARK, "").partition(":")[0]: text}.values()) + "\n"


def problems_of(tmp_path: Path, marked: str) -> tuple[list[tuple[int, int, str]], list[tuple[int, int]]]:
    """The problems found in a text, and the places marked in it."""
    marks = []
    for number, text in enumerate(marked.split("\n"), 1):
        pieces = text.split(MARK)
        marks += [(number, len("".join(pieces[: i + 1])) + 1) for i in range(len(pieces) - 1)]
    path = tmp_path / "p.yaml"
    path.write_text(marked.replace(MARK, ""), encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load(path, PROFILE)
    for problem in caught.value.problems:
        line, column = problem.place
        assert str(problem) == f"{path}:{line}:{column}: {problem.message}"
    return [(*problem.place, problem.message) for problem in caught.value.problems], marks


def device(rest: str, transport: str = "vfio-user") -> str:
    return f"device: {{transport: {transport}, {rest}}}"


def write(value: str, width: int = 4) -> str:
    return f"stimulus: {{error: [{{write: {{region: 0, offset: 0, width: {width}, value: {value}}}}}]}}"


def wait(rest: str) -> str:
    return f"stimulus: {{error: [{{wait: {{region: 0, offset: 0, {rest}}}}}]}}"


def start(value: str, width: int = 8) -> str:
    step = f"{{write: {{region: 0, offset: 0, width: {width}, value: {value}}}}}"
    stop = "{write: {region: 0, offset: 0, width: 4, value: 0}}"
    return f"stimulus: {{dma: {{start: [{step}], stop: [{stop}], writes_within: 1s}}}}"


ONE_PROBLEM = {
    # structure
    "unknown key": ("§vendr: me", "unknown key `vendr`; did you mean `vendor`?"),
    "unknown key like none": ("§zzz: me", "unknown key `zzz`"),
    "unknown key inside": ("limits: {§cal: 5s}", "unknown key `cal`; did you mean `call`?"),
    "duplicate key": ("name: a\n§name: b", "the key `name` is in line 2 already"),
    "duplicate key inside": ("limits: {call: 5s, §call: 5s}", "the key `call` is in line 5 already"),
    "missing key": ("stimulus:\n  §running:\n    changes_within: 1s", "the key `sample` is missing"),
    "key that is true in YAML 1.1": ("§on: 1", "YAML reads the key `on` as true or false"),
    "key that is a number": ("§12: 1", "YAML reads the key `12` as a number"),
    "key that is a list": ("§[a]: 1", "a key is a plain word, not a list"),
    "mapping expected": ("limits: §5s", "expected a mapping (`key: value`), found `5s`"),
    "mapping left empty": ("limits:§", "expected a mapping (`key: value`), found nothing"),
    "list expected": ("waivers: §none", "expected a list of waivers, found `none`"),
    "text expected, list found": (
        "name: §[a]",
        "expected a name of letters, digits, `.`, `_` and `-`, found a list",
    ),
    "text expected, mapping found": ("vendor: §{a: b}", "expected text, found a mapping"),
    "no value": ("vendor:§", "no value here; expected text"),
    "null": ("vendor: §~", "no value here; expected text"),
    "step without a key": (
        "stimulus: {error: [§{}]}",
        "expected a single key, `write`, `read`, `wait` or another step; found none",
    ),
    "step with two keys": (
        "stimulus: {error: [§{read: {}, write: {}}]}",
        "expected a single key, `write`, `read`, `wait` or another step; found `read` and `write`",
    ),
    "step of an unknown kind": (
        "stimulus: {error: [{§wrte: {}}]}",
        "expected `write`, `read`, `wait` or another step, found `wrte`; did you mean `write`?",
    ),
    "step with a key that steers a terminal": (
        'stimulus: {error: [§{"\\e[2J": {}, write: {}}]}',
        "expected a single key, `write`, `read`, `wait` or another step; found `\\x1b[2J` and `write`",
    ),
    "step with many keys": (
        f"stimulus: {{error: [§{{{', '.join(f'k{number}: 1' for number in range(5000))}}}]}}",
        f"expected a single key, `write`, `read`, `wait` or another step; found {MANY_KEYS} and 4992 more",
    ),
    "only reads": (
        "stimulus: {running: {changes_within: 1s, sample: {§write: {}}}}",
        "expected `read`, `digest`, `read_file`, `count_irq` or `call`, found `write`",
    ),
    "no steps": ("stimulus: {error: §[]}", "expected a list of steps, found an empty list"),
    # what YAML has and profiles do not
    "anchor": ("limits: §&a {}", "anchors such as `&a` are not used; write the value out"),
    "alias": ("limits: {call: §*a}", "aliases such as `*a` are not used; write the value out"),
    "merge key": ("limits: {§<<: {call: 1s}}", "merge keys (`<<`) are not used; write the keys out"),
    "tag": (
        "vendor: §!!python/name:os.system x",
        "tags such as `tag:yaml.org,2002:python/name:os.system` are not used",
    ),
    "tag on a mapping": ("limits: §!x {}", "tags such as `!x` are not used"),
    # text
    "text that is a number": (
        "version: §1.10",
        'YAML reads `1.10` as a number; for text, put it in quotes: "1.10"',
    ),
    "text that is true in YAML 1.1": (
        "vendor: §on",
        'YAML reads `on` as true or false; for text, put it in quotes: "on"',
    ),
    "text that is a date": (
        "version: §2026-01-02",
        'YAML reads `2026-01-02` as a date; for text, put it in quotes: "2026-01-02"',
    ),
    "text that is a number in YAML 1.2": (
        "version: §12e45678",
        'YAML reads `12e45678` as a number; for text, put it in quotes: "12e45678"',
    ),
    "PCI address of base 60": (
        device("name: §0000:05:00.0, group: 1", "kernel-group"),
        'YAML reads `0000:05:00.0` as a number; for text, put it in quotes: "0000:05:00.0"',
    ),
    "blank text": ('vendor: §"  "', "expected text, found blank text"),
    "control character": ('vendor: §"a\\x1bb"', "`a\\x1bb` has a line break or a control character in it"),
    "text on two lines": ("vendor: §|\n  a\n  b", "`a\\nb\\n` has a line break or a control character in it"),
    "long text": (
        f"name: §{'x' * 70}",
        f"expected a name of letters, digits, `.`, `_` and `-`, found `{'x' * 60}...`",
    ),
    "choice": (
        "claims: {data_section: §maped}",
        "expected `trapped`, `mapped`, `partitioned` or `mapped-only`, found `maped`; did you mean `mapped`?",
    ),
    "interface": (
        "interfaces: [§migration_v2]",
        "expected `migration_v1` or `dirty_type1`, found `migration_v2`; did you mean `migration_v1`?",
    ),
    "interface twice": (
        "interfaces: [migration_v1, §migration_v1]",
        "`migration_v1` is listed twice",
    ),
    "pin without unpin": (
        (
            "stimulus: {dirty: {write: [read: {region: 0, offset: 0, width: 1}], largest: 1, pin: §"
            "[read: {region: 0, offset: 0, width: 1}]}}"
        ),
        "`pin` and `unpin` belong together; give both or neither",
    ),
    "boolean of YAML 1.1": ("claims: {precopy_data: §yes}", "expected `true` or `false`, found `yes`"),
    "boolean in quotes": ("claims: {precopy_data: §'true'}", "expected `true` or `false`; remove the quotes"),
    "date of no calendar": (
        "waivers: [{rule: v1.a, reason: b, expires: §2027-02-30}]",
        "`2027-02-30` is not a day of the calendar",
    ),
    "date in another order": (
        "waivers: [{rule: v1.a, reason: b, expires: §31.01.2027}]",
        "expected a date such as 2027-01-31, found `31.01.2027`",
    ),
    # numbers
    "format of another version": ("format: §2", "format `2` is unknown; this version reads 1"),
    "format that is not a number": ("format: §one", "expected `1`, found `one`"),
    "width": (write("0").replace("4", "§3"), "expected `1`, `2`, `4` or `8`, found `3`"),
    "negative number": (write("§-1"), "`-1` is out of range: 0 to 0xffffffffffffffff"),
    "fraction": (write("§1.5"), "expected a number, found `1.5`"),
    "number in quotes": (write("§'1'"), "expected a number; remove the quotes"),
    "octal": (
        write("§010"),
        "expected a number, found `010`; YAML 1.1 reads a leading 0 as octal: write 8 or 10",
    ),
    "size of many digits": (
        f"limits: {{largest_state: §{'9' * 5000}}}",
        f"expected a size such as `64KiB`, found `{'9' * 60}...`",
    ),
    "octal number of many digits": (write(f"§0{'7' * 5000}"), f"expected a number, found `0{'7' * 59}...`"),
    "hexadecimal without 0x": (write("§1f"), "expected a number, found `1f`; hexadecimal is written 0x1f"),
    "base 60": (write("§10:30"), "expected a number, found `10:30`; YAML 1.1 reads colons as base 60"),
    "underscore": (write("§1_000"), "expected a number, found `1_000`; write 1000"),
    "number of many digits": (
        write("§" + "9" * 5000),
        f"`{'9' * 60}...` is out of range: 0 to 0xffffffffffffffff",
    ),
    "group": (device("name: a, group: §-1", "kernel-group"), "`-1` is out of range: 0 to 0x7fffffff"),
    "negative size": (
        "limits: {largest_state: §-1KiB}",
        "`-1KiB` is negative; expected a size such as `64KiB`",
    ),
    "size of an unknown unit": (
        "limits: {largest_state: §64KB}",
        "`64KB` has the unknown unit `KB`; units are `B`, `KiB`, `MiB`, `GiB` and `TiB`",
    ),
    "size of nothing": ("limits: {largest_state: §0}", "`0` is out of range: 1 to 1024TiB"),
    "fraction of a size": (
        "limits: {largest_state: §1.5MiB}",
        "expected a size such as `64KiB`, found `1.5MiB`",
    ),
    "octal size": (
        "limits: {largest_state: §0777}",
        ("expected a size such as `64KiB`, found `0777`; YAML 1.1 reads a leading 0 as octal: write 511 or 777"),
    ),
    "page size": ("claims: {page_size: §12KiB}", "`12KiB` is not a power of two"),
    "page size below a page": ("claims: {page_size: §1KiB}", "`1KiB` is out of range: 4KiB to 1GiB"),
    "time without unit": ("limits: {call: §5}", "`5` has no unit; units are `us`, `ms`, `s`, `min` and `h`"),
    "time of an unknown unit": (
        "limits: {call: §5sec}",
        "`5sec` has the unknown unit `sec`; units are `us`, `ms`, `s`, `min` and `h`",
    ),
    "time of base 60": (
        "limits: {run: §10:30}",
        "expected a time such as `500ms`, found `10:30`; YAML 1.1 reads colons as base 60",
    ),
    "negative time": ("limits: {call: §-5s}", "`-5s` is negative; expected a time such as `500ms`"),
    "no time at all": ("limits: {call: §0s}", "`0s` is out of range: 1ms to 24h"),
    # device
    "no transport": (
        "§device: {socket: /s}",
        "the key `transport` is missing: `vfio-user` or `kernel-group`",
    ),
    "unknown transport": (
        "device: {transport: §kernel-gruop, group: 1}",
        "expected `vfio-user` or `kernel-group`, found `kernel-gruop`; did you mean `kernel-group`?",
    ),
    "key of the other transport": (
        device("socket: /s, §group: 1"),
        "unknown key `group`; it belongs to transport `kernel-group`",
    ),
    "group and sysfs": (
        device("name: a, group: 1, §sysfs: /s", "kernel-group"),
        "`group` and `sysfs` exclude each other; give one",
    ),
    "neither group nor sysfs": (
        f"§{device('name: a', 'kernel-group')}",
        "the key `group` or `sysfs` is missing",
    ),
    "neither socket nor command": (
        "§device: {transport: vfio-user}",
        "the key `socket` or `command` is missing",
    ),
    "shell line": (
        device("command: §server --listen"),
        "expected a list of arguments such as [program, argument], found `server --listen`",
    ),
    "empty command": (
        device("command: §[]"),
        "expected a list of arguments such as [program, argument], found an empty list",
    ),
    "argument that is a number": (
        device("socket: /s, command: [server, §5]"),
        'YAML reads `5` as a number; for text, put it in quotes: "5"',
    ),
    "second server that nothing starts": (
        device("socket: /s, second: §{}"),
        "give its `socket`, because no `command` starts a server",
    ),
    "second server that is the first": (
        device("socket: /s, second: {socket: §/s}"),
        "`/s` is the device itself; name another one",
    ),
    "second server with a long path": (
        device(f"socket: /s, second: {{socket: §/{'s' * 107}}}"),
        "the path of a socket has at most 107 bytes",
    ),
    "second server without the socket": (
        device("socket: /s, command: §[server], second: {}"),
        "one argument must hold `{socket}` for the second server to know where to listen",
    ),
    "second device that is the first": (
        device("name: a, group: 1, second: {name: §a, group: 1}", "kernel-group"),
        "`a` is the device itself; name another one",
    ),
    "second device without a group": (
        device("name: a, group: 1, §second: {name: b}", "kernel-group"),
        "the key `group` or `sysfs` is missing",
    ),
    "second device in the same folder": (
        device("name: a, sysfs: /sys/x, second: {name: b, sysfs: §/sys/./x}", "kernel-group"),
        "`/sys/./x` is the device itself; name another one",
    ),
    "spare device that is the device": (
        device("name: a, group: 1, spares: [{name: §a, group: 2}]", "kernel-group"),
        "`a` is the device itself; name another one",
    ),
    "spare device that is the second one": (
        device("name: a, group: 1, second: {name: b, group: 1}, spares: [{name: §b, group: 2}]", "kernel-group"),
        "`b` is the second device; name another one",
    ),
    "spare device in the folder of another spare": (
        device("name: a, group: 1, spares: [{name: b, sysfs: /sys/x}, {name: c, sysfs: §/sys/x/}]", "kernel-group"),
        "`/sys/x/` is a spare already; name another one",
    ),
    "spare device without a group": (
        device("name: a, group: 1, spares: [§{name: b}]", "kernel-group"),
        "the key `group` or `sysfs` is missing",
    ),
    "spare server that is the device": (
        device("socket: /run/s, spares: [{socket: §/run//s}]"),
        "`/run//s` is the device itself; name another one",
    ),
    "spare server that is the second one": (
        device("socket: /s, second: {socket: /t}, spares: [{socket: /u}, {socket: §/t}]"),
        "`/t` is the second device; name another one",
    ),
    "spare server twice": (
        device("socket: /s, spares: [{socket: /t}, {socket: §/t}]"),
        "`/t` is a spare already; name another one",
    ),
    "spare server without a socket": (device("socket: /s, spares: [§{}]"), "the key `socket` is missing"),
    "spare server with a long path": (
        device(f"socket: /s, spares: [{{socket: §/{'s' * 107}}}]"),
        "the path of a socket has at most 107 bytes",
    ),
    "spare that recovers": (
        device("socket: /s, spares: [{socket: /t, §recovery: [r]}]"),
        "unknown key `recovery`",
    ),
    "recovery of the second device by a shell": (
        device("socket: /s, second: {socket: /t, recovery: §cycle it}"),
        "expected a list of arguments such as [program, argument], found `cycle it`",
    ),
    "command without the socket": (
        device("command: §[server]"),
        "without `socket`, one argument must hold `{socket}` for the server to know where to listen",
    ),
    "misspelt placeholder": (
        device("command: [server, §'{sokcet}', '{socket}']"),
        "`{sokcet}` is not filled in here; did you mean `{socket}`?",
    ),
    "placeholder in recovery": (
        device("socket: /s, recovery: [§'{python}']"),
        "`{python}` is filled in only in `command`",
    ),
    "long socket path": (device("socket: §/" + "s" * 107), "the path of a socket has at most 107 bytes"),
    "defects without command": (
        device("socket: /s, defects: §{option: '--defect={name}'}"),
        "`defects` adds arguments to `command`, but there is no `command`",
    ),
    "defects without name": (
        device("socket: /s, command: [a], defects: {option: §--defect}"),
        "expected an argument with `{name}` in it, found `--defect`",
    ),
    # claims and limits
    "drawn transition": (
        "claims: {transitions: [§running -> stop]}",
        "`running -> stop` is documented in the interface, so every driver has it; claim only others",
    ),
    "transition of an unknown state": (
        "claims: {transitions: [§stop -> paused]}",
        "`paused` is not a state; expected `running`, `pre-copy`, `stop-and-copy`, `stop` or `resuming`",
    ),
    "transition of a misspelt state": (
        "claims: {transitions: [§stop -> runing]}",
        (
            "`runing` is not a state; expected `running`, `pre-copy`, `stop-and-copy`, `stop` or `resuming`; "
            "did you mean `running`?"
        ),
    ),
    "transition with one end": (
        "claims: {transitions: [§stop]}",
        "expected a transition such as `stop -> running`, found `stop`",
    ),
    "misspelt transition": (
        "claims: {transitions: [§stop->stop]}",
        "expected a transition such as `stop -> running`, found `stop->stop`; did you mean `stop -> stop`?",
    ),
    "transition of the error state": (
        "claims: {transitions: [§error -> running]}",
        "the error state is entered by the driver and left by reset; no transition claims it",
    ),
    "transition twice": (
        "claims: {transitions: [stop -> stop, §stop -> stop]}",
        "`stop -> stop` is listed twice",
    ),
    "call longer than test": ("limits: {call: §2min}", "`call` (120 s) is longer than `test` (30 s)"),
    "test shorter than a call": ("§limits: {test: 1s}", "`call` (5 s) is longer than `test` (1 s)"),
    "test longer than run": ("limits: {test: §1h}", "`test` (3600 s) is longer than `run` (600 s)"),
    # stimulus
    "variable in the wrong place": (write("§$iova"), "`$iova` is unknown here; expected a number"),
    "misspelt variable": (
        start("§$iovs"),
        "`$iovs` is unknown here; expected a number, `$iova` or `$length`; did you mean `$iova`?",
    ),
    "address in a narrow register": (
        start("§$iova", 2),
        "`$iova` needs a register of 4 or 8 bytes, not 2",
    ),
    "value wider than the register": (write("§0x100", 1), "0x100 does not fit into the width of 8 bits"),
    "wait without within": (
        "stimulus: {error: [{§wait: {region: 0, offset: 0, width: 4, equals: 0}}]}",
        "the key `within` is missing",
    ),
    "wait for the impossible": (
        wait("width: 4, mask: 1, equals: §2, within: 1s"),
        "0x2 has bits outside the mask 0x1; this never becomes true",
    ),
    "wait for too wide a value": (
        wait("width: 1, equals: §256, within: 1s"),
        "0x100 does not fit into the width of 8 bits",
    ),
    "mask wider than the register": (
        wait("width: 1, mask: §0x1ff, equals: 1, within: 1s"),
        "0x1ff does not fit into the width of 8 bits",
    ),
    "mask of nothing": (
        wait("width: 1, mask: §0, equals: 0, within: 1s"),
        "`0` is out of range: 1 to 0xffffffffffffffff",
    ),
    "change slower than a test": (
        "stimulus: {running: {sample: {read: {region: 0, offset: 0, width: 4}}, changes_within: §1min}}",
        "longer than a whole test may take (30 s)",
    ),
    "DMA slower than a test": (start("0").replace("1s", "§1min"), "longer than a whole test may take (30 s)"),
    "steps that wait longer than a test": (
        (
            "stimulus: {error: [{wait: {region: 0, offset: 0, width: 1, equals: 1, within: 20s}},"
            " {wait: {region: 0, offset: 0, width: 1, equals: 1, within: §10s}},"
            " {wait: {region: 0, offset: 0, width: 1, equals: 1, within: 10s}}]}"
        ),
        "the waits of `stimulus.error` last 30 s up to here; a whole test may take 30 s",
    ),
    # what the device does not have
    "none of what every device has": (
        "stimulus: {running: §none}",
        (
            "this cannot be `none`: every device does something while it runs; leave the key out, and leave the rules "
            "that need it out by name in a plan"
        ),
    ),
    "another word for none": (
        "stimulus: {dma: §no}",
        "expected a mapping (`key: value`), or `none` for a device without it; found `no`",
    ),
    "nothing for none": (
        "stimulus: {error: §}",
        "expected a list of steps, or `none` for a device without it; found nothing",
    ),
    "none of something that cannot be denied": ("limits: §none", "expected a mapping (`key: value`), found `none`"),
    "pin denied and unpin given": (
        (
            "stimulus: {dirty: {write: [read: {region: 0, offset: 0, width: 1}], largest: 1, pin: none, unpin: §"
            "[read: {region: 0, offset: 0, width: 1}]}}"
        ),
        "`pin` and `unpin` belong together; give both or neither",
    ),
    "no memory written, yet judged by it": (
        "interfaces: [migration_v1, dirty_type1]\nstimulus: {dirty: §none}",
        (
            "dirty_type1 is judged by what the device writes, so this cannot be `none`; leave dirty_type1 out of "
            "`interfaces`, or leave this key out"
        ),
    ),
    "no memory written, yet by DMA": (
        start("0").replace("{dma", "{dirty: §none, dma"),
        "`none` says that the device writes no memory, but `dma` makes it do so",
    ),
    # setup
    "map outside of the setup": (
        "stimulus: {error: [{§map: data_section}]}",
        "expected `write`, `read`, `wait` or another step, found `map`",
    ),
    "map of something else": (
        "setup: {after_open: [{map: §data_sections}]}",
        "expected `data_section`, found `data_sections`; did you mean `data_section`?",
    ),
    "map without a migration region": (
        "interfaces: [dirty_type1]\nsetup: {after_reset: [{map: §data_section}]}",
        "there is a data section only with migration_v1 in `interfaces`",
    ),
    "map of what is trapped": (
        "claims: {data_section: trapped}\nsetup: {after_open: [{map: §data_section}]}",
        "`claims.data_section` says that it cannot be mapped: `trapped`",
    ),
    "variable in the setup": (
        "setup: {after_open: [{write: {region: 0, offset: 0, width: 4, value: §$iova}}]}",
        "`$iova` is unknown here; expected a number",
    ),
    "setup that waits longer than a test": (
        (
            "setup: {after_open: [{wait: {region: 0, offset: 0, width: 1, equals: 1, within: 20s}}],"
            " after_reset: [{wait: {region: 0, offset: 0, width: 1, equals: 1, within: §10s}}]}"
        ),
        "the waits of `setup` last 30 s up to here; a whole test may take 30 s",
    ),
    "misspelt setup": ("setup: {§after_opening: []}", "unknown key `after_opening`; did you mean `after_open`?"),
    # skip
    "skip without reason": ("skip:\n  - §case: a", "the key `reason` is missing"),
    "skip of no case": ("skip:\n  - §reason: a", "the key `case` is missing"),
    "skip of blank text": ('skip: [{case: §" ", reason: a}]', "expected text, found blank text"),
    "skip twice": ("skip: [{case: a, reason: b}, {case: §a, reason: c}]", "`a` is skipped already"),
    "key of a plan": ("§leave_out: []", "unknown key `leave_out`; it belongs to a plan"),
    # waivers
    "waiver without reason": ("waivers:\n  - §rule: v1.a", "the key `reason` is missing"),
    "waiver of no rule": (
        "waivers: [{rule: §DS-08, reason: a}]",
        "expected the id of a rule such as `v1.reserved.reads-zero`, found `DS-08`",
    ),
    "waiver twice": (
        "waivers: [{rule: v1.a, reason: a}, {rule: §v1.a, reason: b}]",
        "`v1.a` is waived already; make them differ in `case`, `shows`, `kernel` or `driver`",
    ),
}


@pytest.mark.parametrize(("text", "message"), ONE_PROBLEM.values(), ids=ONE_PROBLEM)
def test_a_mistake_is_named_where_it_is(tmp_path: Path, text: str, message: str) -> None:
    found, marks = problems_of(tmp_path, with_part(text))
    assert found == [(*mark, message) for mark in marks]
    assert len(found) == 1


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    found, marks = problems_of(
        tmp_path,
        "§§format: 1\n"
        "§nam: device\n"
        "device:\n"
        "  transport: kernel-group\n"
        "  name: §7\n"
        "  group: §twelve\n"
        "claims:\n"
        "  data_section: §trap\n"
        "  transitions: [stop -> stop, §stop, §running -> stop]\n"
        "stimulus: {error: [{read: {region: §-1, offset: 0, width: §5}}]}\n"
        "waivers:\n"
        "  - {rule: v1.a, reason: §5}\n"
        "  - §§link: x\n",
    )
    assert [problem[:2] for problem in found] == marks
    assert [message for _, _, message in found] == [
        "the key `name` is missing",
        "the key `interfaces` is missing",
        "unknown key `nam`; did you mean `name`?",
        'YAML reads `7` as a number; for text, put it in quotes: "7"',
        "expected a number, found `twelve`",
        "expected `trapped`, `mapped`, `partitioned` or `mapped-only`, found `trap`; did you mean `trapped`?",
        "expected a transition such as `stop -> running`, found `stop`",
        "`running -> stop` is documented in the interface, so every driver has it; claim only others",
        "`-1` is out of range: 0 to 65535",
        "expected `1`, `2`, `4` or `8`, found `5`",
        'YAML reads `5` as a number; for text, put it in quotes: "5"',
        "the key `rule` is missing",
        "the key `reason` is missing",
    ]


WHOLE_TEXTS = {
    "empty file": ("§", "the file holds no profile; profiles/template.yaml is a start"),
    "comments only": ("§# nothing\n", "the file holds no profile; profiles/template.yaml is a start"),
    "not a mapping": ("§just words\n", "expected a mapping (`key: value`), found `just words`"),
    "list": ("§- a\n", "expected a mapping (`key: value`), found a list"),
    "second document": (
        with_part("name: a") + "§---\nname: b\n",
        "a second document starts here; a file holds one profile",
    ),
    "deep nesting": ("name: " + "[" * 15 + "§" + "[" * 5000, "nested more than 16 levels deep"),
    "deep nesting of mappings": ("{a: " * 16 + "§" + "{a: " * 5000, "nested more than 16 levels deep"),
    "deep nesting of both": ("[{a: " * 8 + "§" + "[{a: " * 5000, "nested more than 16 levels deep"),
    "deep nesting of lists in lines": ("- " * 16 + "§" + "- " * 5000, "nested more than 16 levels deep"),
    "deep nesting of mappings in lines": (
        "".join(f"{' ' * level}{'§' * (level == 16)}a:\n" for level in range(400)),
        "nested more than 16 levels deep",
    ),
    "deep nesting after much else": (
        "# a line\n" * 100 + with_part("name: [" + "[" * 14 + "§" + "[" * 5000),
        "nested more than 16 levels deep",
    ),
    "control character": ("name: a§\x00b\n", "not text in UTF-8 (character U+0000)"),
    "escape sequence": ("name: a\nvendor: §\x1b[31m\n", "not text in UTF-8 (character U+001B)"),
}


@pytest.mark.parametrize("parser", ["CSafeLoader", "SafeLoader"])
@pytest.mark.parametrize(("text", "message"), WHOLE_TEXTS.values(), ids=WHOLE_TEXTS)
def test_files_without_a_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str, parser: str
) -> None:
    if not hasattr(yaml, parser):
        pytest.skip("PyYAML is built without libyaml")
    monkeypatch.setattr(document, "_LOADER", getattr(yaml, parser))
    found, marks = problems_of(tmp_path, text)
    assert found == [(*mark, message) for mark in marks]
    assert len(found) == 1


SYNTAX_ERRORS = {
    "unclosed list": "name: [a\nformat: 1\n",
    "unclosed quote": 'name: "a\nformat: 1\n',
    "tab as indentation": "limits:\n\tcall: 5s\n",
    "key twice in a line": "name: a: b\n",
    "bad indentation": "limits:\n    call: 5s\n  test: 5s\n",
    "unknown escape": 'name: "\\q"\n',
    "stray bracket": "name: ]\n",
}


@pytest.mark.parametrize("text", SYNTAX_ERRORS.values(), ids=SYNTAX_ERRORS)
def test_a_syntax_error_has_its_place(tmp_path: Path, text: str) -> None:
    found, _ = problems_of(tmp_path, text)
    ((line, column, message),) = found
    assert 1 <= line <= text.count("\n") + 1
    assert 1 <= column <= max(map(len, text.split("\n"))) + 1
    assert message.startswith("YAML syntax: ")


def test_a_syntax_error_is_never_past_the_end(tmp_path: Path) -> None:
    """If the last line has no end, the parser counts one more."""
    assert problems_of(tmp_path, "name: a\nvendor")[0] == [
        (2, 7, "YAML syntax: while scanning a simple key could not find expected ':'")
    ]


@pytest.mark.parametrize("escape", ["\\U00110000", "\\UFFFFFFFF"])
@pytest.mark.parametrize("parser", ["CSafeLoader", "SafeLoader"])
def test_an_escape_beyond_unicode_is_a_syntax_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parser: str, escape: str
) -> None:
    if not hasattr(yaml, parser):
        pytest.skip("PyYAML is built without libyaml")
    monkeypatch.setattr(document, "_LOADER", getattr(yaml, parser))
    found, _ = problems_of(tmp_path, f'name: a\nvendor: "{escape}"\n')
    ((line, column, message),) = found
    assert line == 2
    assert column > 8
    assert message.startswith("YAML syntax: ")


def test_a_tab_as_indentation_has_a_hint(tmp_path: Path) -> None:
    found, _ = problems_of(tmp_path, SYNTAX_ERRORS["tab as indentation"])
    ((line, column, message),) = found
    assert (line, column) == (2, 1)
    assert message.endswith("(lines are indented with spaces, never with tabs)")


def test_mistakes_before_a_syntax_error_are_reported_too(tmp_path: Path) -> None:
    found, _ = problems_of(tmp_path, "name: &a x\nvendor: ]\n")
    assert found[0] == (1, 7, "anchors such as `&a` are not used; write the value out")
    assert found[1][:2] == (2, 9)
    assert len(found) == 2


def test_every_alias_of_a_merge_is_named(tmp_path: Path) -> None:
    found, marks = problems_of(tmp_path, with_part("limits: §&l {§<<: §*l}"))
    assert found == [
        (*marks[0], "anchors such as `&l` are not used; write the value out"),
        (*marks[1], "merge keys (`<<`) are not used; write the keys out"),
        (*marks[2], "aliases such as `*l` are not used; write the value out"),
    ]


@pytest.mark.parametrize("content", [b"name: a\nvendor: \xff\n", b"\xef\xbb\xbfname: a\nvendor: \xff\n"])
def test_bytes_that_are_not_utf_8_have_their_place(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(ProfileError) as caught:
        load(path, PROFILE)
    assert str(caught.value) == f"{path}:2:9: not text in UTF-8 (byte 0xff)"


def test_a_binary_file_is_one_problem(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(range(256)))
    with pytest.raises(ProfileError) as caught:
        load(path, PROFILE)
    assert str(caught.value) == f"{path}:1:1: not text in UTF-8 (character U+007F)"


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"#" * (256 * 1024 + 1))
    with pytest.raises(ProfileError) as caught:
        load(path, PROFILE)
    assert str(caught.value) == f"{path}: larger than 256 KiB; this is not a profile"


def test_thousands_of_mistakes_are_all_reported(tmp_path: Path) -> None:
    found, _ = problems_of(tmp_path, "\n".join([*PARTS.values(), *(f"nam{number}: 1" for number in range(5000))]))
    assert len(found) == 5000
    assert found[0] == (6, 1, "unknown key `nam0`; did you mean `name`?")
    assert found[-1] == (5005, 1, "unknown key `nam4999`")


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    with pytest.raises(ProfileError) as caught:
        load(path, PROFILE)
    assert str(caught.value) == f"{path}: cannot be read: No such file or directory"


def test_a_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        load(tmp_path, PROFILE)
    assert str(caught.value) == f"{tmp_path}: cannot be read: Is a directory"


def test_an_impossible_name_is_one_clear_line() -> None:
    with pytest.raises(ProfileError) as caught:
        load("a\0b", PROFILE)
    assert len(caught.value.problems) == 1
    assert "cannot be read" in str(caught.value)
