# SPDX-License-Identifier: GPL-2.0-only
"""A result without what identifies the machine: host names, serial numbers, paths.

Relative paths stay, and of a path with blanks the part after the first blank. Paths below /sys, /dev and /proc stay,
because they are the same on every machine. A redacted journal gets a new chain.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from ..results import chain

_PATH: Final = re.compile(r"(?<![\w.$}/~*\]-])~?/(?!(?:sys|dev|proc)(?:/|\b))[^\s\"'`<>|;,(){}\[\]\\]+")
_NUMBERS: Final = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"  # such as the name of a mediated device
    r"|\b(?:[0-9a-f]{2}:){5,7}[0-9a-f]{2}\b",
    re.IGNORECASE | re.ASCII,
)
_SERIAL: Final = re.compile(
    r"(\bserial(?:[ _-]*(?:number|no|nr)\b\.?)?[\"'`]?\s*[:=]?\s*[\"'`]?)(?=\S*\d)[\w./-]{4,}", re.IGNORECASE
)

#: Fields that do not identify a machine: names of this program's own.
_OWN: Final = frozenset(("event", "verdict", "case", "rule", "rules", "areas", "cases", "chain", "verb", "part"))

PATH, SERIAL, HOST = "[path]", "[serial number]", "[host]"


class Redaction:
    """Removes what identifies a machine."""

    def __init__(self, hosts: Iterable[str]) -> None:
        """``hosts``: the names of the machine that the run was made on."""
        names = {part for host in hosts for part in (host, host.partition(".")[0]) if part}
        words = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        self._host = re.compile(rf"(?<![\w-])(?:{words})(?![\w-])", re.IGNORECASE) if words else None

    def text(self, text: str) -> str:
        """A text, redacted."""
        text = _PATH.sub(PATH, text)
        text = _NUMBERS.sub(SERIAL, text)
        text = _SERIAL.sub(rf"\1{SERIAL}", text)
        return self._host.sub(HOST, text) if self._host else text

    def value(self, value: Any, name: str = "") -> Any:
        """A JSON value, redacted."""
        if isinstance(value, str):
            return SERIAL if value and "serial" in name else self.text(value)
        if isinstance(value, list):
            return [self.value(each, name) for each in value]
        if isinstance(value, dict):
            return {
                (self.text(key) if "/" in key else key): each if key in _OWN else self.value(each, key.lower())
                for key, each in value.items()
            }
        return value

    def journal(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The lines of an intact journal, with a new chain. Raises ValueError for a line that is not a record."""
        before, whole = "", hashlib.sha256()
        for number, line in enumerate(lines):
            if not line.endswith(b"\n"):
                return  # left by a killed writer
            record = self.value(json.loads(line.decode("utf-8", "replace")))
            del record["chain"]
            if record.get("event") == "closed":
                record |= {"records": number, "digest": whole.hexdigest()}
            made = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
            data, before = chain.linked(made, before)
            whole.update(data)
            yield data
