# SPDX-License-Identifier: GPL-2.0-only
"""Memory that a guest and the host share: the guest notes in it which call it makes, and the host can read that.

QEMU shows it to the guest as a PCI device. What stands in it outlives the guest, however that ends.
"""

import os
from dataclasses import replace
from pathlib import Path

from vfio_compliance.results import inflight
from vfio_compliance.results.inflight import LastCall

_SIZE = 1 << 20


class SharedPage:
    """A file of the host's that is memory of the guest's."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self.path = path
        #: What the guest's monotonic clock is ahead of the host's, in seconds; None as long as that is not known.
        self.ahead: float | None = None
        with path.open("wb") as file:
            file.truncate(_SIZE)

    def arguments(self) -> list[str]:
        """For QEMU."""
        backend = f"memory-backend-file,id=calls,share=on,size={_SIZE},mem-path={self.path}"
        return ["-object", backend, "-device", "ivshmem-plain,memdev=calls"]

    def last(self) -> LastCall | None:
        """The last call that the guest noted; None: none. How long ago is told once its clock is known."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            call = inflight.last(descriptor, ahead=self.ahead or 0.0)
        finally:
            os.close(descriptor)
        if call is None or self.ahead is not None:
            return call
        return replace(call, seconds=0.0)
