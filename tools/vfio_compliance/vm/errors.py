# SPDX-License-Identifier: GPL-2.0-only
"""The one error of this package: something on our side keeps a kernel from being judged."""


class VmError(Exception):
    """What went wrong, in one line, with the tool's own last words in ``detail`` where there are any."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
