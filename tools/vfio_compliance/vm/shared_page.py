# SPDX-License-Identifier: GPL-2.0-only
"""Memory that a guest and the host share: the guest notes in it which call it makes, and the host can read that.

QEMU shows it to the guest as a PCI device. Its content outlives the guest, however that ends.
"""

import os
from dataclasses import replace
from pathlib import Path

from vfio_compliance.results import inflight
from vfio_compliance.results.inflight import LastCall

_SIZE = 1 << 20


class SharedPage:
    """A file on the host that is memory of the guest."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self.path = path
        #: The guest's monotonic clock minus the host's, in seconds; None while unknown.
        self.ahead: float | None = None
        with path.open("wb") as file:
            file.truncate(_SIZE)

    def arguments(self) -> list[str]:
        """For QEMU."""
        backend = f"memory-backend-file,id=calls,share=on,size={_SIZE},mem-path={self.path}"
        return ["-object", backend, "-device", "ivshmem-plain,memdev=calls"]

    def last(self) -> LastCall | None:
        """The last call that the guest noted, or None; with how long ago it was, once its clock is known."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            call = inflight.last(descriptor, ahead=self.ahead or 0.0)
        finally:
            os.close(descriptor)
        if call is None or self.ahead is not None:
            return call
        return replace(call, seconds=0.0)
