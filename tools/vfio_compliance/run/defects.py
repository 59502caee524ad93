# SPDX-License-Identifier: GPL-2.0-only
"""The switch for defects of a kernel module: a parameter, which is restored at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..profiles import KernelGroupDevice, Profile
from ..results.events import Changed, Event, Restored
from .errors import Broken


class DefectSwitch:
    """Breaks the reference module on purpose. A server gets its defects when it is started."""

    def __init__(self, profile: Profile, defects: Sequence[str], emit: Callable[[Event], None]) -> None:
        """``emit`` puts an event into the journal."""
        self._defects, self._emit = defects, emit
        device = profile.device
        known = isinstance(device, KernelGroupDevice) and device.defects
        self._parameter = Path(known.parameter) if known else None
        self._before: str | None = None

    def on(self) -> None:
        """Switch the defects on. Raises Broken."""
        parameter = self._parameter
        if not self._defects or parameter is None:
            return
        try:
            before = parameter.read_text().strip()
            # Recorded first: the watcher of this process restores it if this process cannot.
            self._emit(Changed(str(parameter), before))
            self._before = before
            parameter.write_text(",".join(self._defects))
        except OSError as error:
            raise Broken(
                f"cannot switch on defects: {parameter}: {error.strerror}",
                "load the reference module, and name only defects that it knows",
            ) from None

    def restore(self) -> None:
        """Restore the earlier value. Raises OSError."""
        if self._parameter is not None and self._before is not None:
            self._parameter.write_text(f"{self._before}\n")  # an empty write would change nothing
            self._emit(Restored(str(self._parameter)))
