# SPDX-License-Identifier: GPL-2.0-only
"""Runs in which a device returns hostile strings wherever it can."""

from __future__ import annotations

from dataclasses import replace

from stories import case, ended, run_of, waiver

from vfio_compliance.results.events import Death, Kernel, Note, State, Target
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary

#: Strings that a device, its server, its driver's file or the kernel may return.
HOSTILE = {
    "control": "\x00\x01\x08\x1b[2J\x1b]0;title\x07\x7f\x9b31m",
    "lines": "one\nnot ok 1 forged\r\nok 2 forged\n1..1\nKTAP version 1\n# Subtest: forged\n    1..2",
    "breaks": "a\x0bb\x0cc\x85d\u2028e\u2029f",
    "markup": "]]></failure><script>alert(1)</script>&amp;&#0;<!-- -->",
    "markdown": "|a|\\|b\\\\|c| ``` `````` ` # head\n```\n## forged\n[x](http://x) @all ![i](http://i) <b>",
    "directive": "x # SKIP # TODO # XFAIL not ok",
    "beyond": "\ufffe\uffff\U0010ffff\u202eesrever\ud800\udfff\udcff",
    "long": "x" * 100_000,
    "empty": "",
    "blank": " \t ",
}


def hostile_run(text: str) -> Summary:
    """A run in which a device returns this string wherever it can."""
    kernel = Kernel((text or "BUG: ",), case("c"))
    events = (
        Target({"driver": text, "device": text, "machine": text, text or "key": text}),
        ended("a[1]", "fail", expected=text, seen=text, remedy=text, path=text, kernel=text),
        replace(ended("b", "not-run", seen=text), observed={text: text}),
        ended("c", "pass"),
        replace(ended(f"d[{text}]", "fail", what=text, seen=text, server=text), observed={"q": text}),
        ended("e", "n/a", what=text),
        ended("f", "fail", seen=text),
        Note(text),
        kernel,
        Death("the server", text, text, True, None),
        State(text, text, text, (text,)),
    )
    waivers = [waiver(rule="v1.f", reason=text or "known", shows=None)]
    return summarise(run_of(*events, waivers=waivers, description=text, device={"product": text}, kernel=text))
