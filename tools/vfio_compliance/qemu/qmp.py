# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's monitor protocol: one JSON object per line."""

from __future__ import annotations

import json
import time
from typing import Any

from .errors import Failed, Hung, Untried
from .lines import Lines
from .output import quoted


class Monitor:
    """The monitor of a running QEMU. Anything but an answer, such as an event, is skipped."""

    def __init__(self, lines: Lines, patience: float) -> None:
        """``patience`` is the number of seconds that an answer may take."""
        self._lines, self._patience = lines, patience
        self._serial = 0
        #: What QEMU says it is: "7.2.22 (package)".
        self.version = ""

    def greet(self) -> None:
        """Read the greeting and switch to command mode. Raises QemuError."""
        greeting = self._receive("its greeting", time.monotonic() + self._patience)
        try:
            version = greeting["QMP"]["version"]
            numbers = [int(version["qemu"][part]) for part in ("major", "minor", "micro")]
            package = str(version.get("package", ""))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Untried(f"QMP began without a greeting: {quoted(json.dumps(greeting))}") from None
        self.version = ".".join(map(str, numbers)) + (f" ({package})" if package else "")
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """What a command returns. Raises Failed if it is refused, Hung, Closed, Untried."""
        self._serial += 1
        deadline = time.monotonic() + self._patience
        order = {"execute": command, "arguments": arguments, "id": self._serial}
        self._lines.send(json.dumps(order), deadline)
        while True:
            answer = self._receive(f"an answer to `{command}`", deadline)
            if answer.get("id") != self._serial:
                continue
            if "return" in answer:
                return answer["return"]
            error = answer.get("error")
            said = error.get("desc") if isinstance(error, dict) else error
            raise Failed(f"QEMU refuses `{command}`: {quoted(str(said))}")

    def _receive(self, what: str, deadline: float) -> dict[str, Any]:
        try:
            line = self._lines.receive(deadline)
            found = json.loads(line)
        except Hung:
            raise Hung(f"QEMU did not give {what} within {self._patience:g} s") from None
        except (ValueError, RecursionError):
            raise Untried(f"QMP sent a line that is not JSON: {quoted(line)}") from None
        if not isinstance(found, dict):
            raise Untried(f"QMP sent a line that is not an object: {quoted(line)}")
        return found
