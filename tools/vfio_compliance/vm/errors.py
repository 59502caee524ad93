# SPDX-License-Identifier: GPL-2.0-only
"""The one error of this package: something on our side prevents the judging of a kernel."""


class VmError(Exception):
    """What went wrong, in one line; ``detail`` has the last lines of the tool's output, if any."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
