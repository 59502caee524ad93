# SPDX-License-Identifier: GPL-2.0-only
"""The first exchange with a client: protocol version and capabilities."""

from __future__ import annotations

import json
from errno import EINVAL
from typing import Any, NamedTuple

from ..refusal import Refusal
from . import wire

MAJOR = 0
MINOR = 0
PAGE_SIZE = 4096
#: With smaller pages, a few writes would fill this process's memory with records of dirty pages.
_LEAST_PAGE_SIZE = 512


class Agreement(NamedTuple):
    """What both sides can do."""

    minor: int
    #: Most bytes of data that the client accepts in one message.
    peer_max_data: int
    #: Bytes per bit of a dirty bitmap.
    page_size: int


def negotiate(body: bytes) -> Agreement:
    """Parse a client's proposal. EINVAL for another major version or capabilities that make no sense."""
    if len(body) < wire.VERSION_HEAD.size:
        raise Refusal(EINVAL)
    major, minor = wire.VERSION_HEAD.unpack_from(body)
    if major != MAJOR:
        raise Refusal(EINVAL)
    capabilities = _capabilities(body[wire.VERSION_HEAD.size :])
    page_size = PAGE_SIZE
    migration = capabilities.get("migration")
    if migration is not None:
        if not isinstance(migration, dict):
            raise Refusal(EINVAL)
        page_size = _number(migration, "pgsize", PAGE_SIZE)
        if page_size < _LEAST_PAGE_SIZE or page_size & page_size - 1:
            raise Refusal(EINVAL)
    return Agreement(
        minor=min(minor, MINOR),
        peer_max_data=_number(capabilities, "max_data_xfer_size", wire.MAX_DATA),
        page_size=min(page_size, PAGE_SIZE),
    )


def answer(minor: int, most: int = wire.MAX_DATA) -> bytes:
    """The body of the reply: the agreed version and this side's capabilities; ``most`` bytes of data at once."""
    capabilities = {
        "max_msg_fds": wire.MAX_FDS,
        "max_data_xfer_size": most,
        "migration": {"pgsize": PAGE_SIZE},
        "container_info": True,
    }
    text = json.dumps({"capabilities": capabilities})
    return wire.VERSION_HEAD.pack(MAJOR, minor) + text.encode() + b"\0"


def _capabilities(text: bytes) -> dict[str, Any]:
    if not text:
        return {}
    if not text.endswith(b"\0"):
        raise Refusal(EINVAL)
    try:
        value = json.loads(text[:-1])
    except (ValueError, RecursionError) as error:
        raise Refusal(EINVAL) from error
    capabilities = value.get("capabilities", {}) if isinstance(value, dict) else None
    if not isinstance(capabilities, dict):
        raise Refusal(EINVAL)
    return capabilities


def _number(values: dict[str, Any], name: str, default: int) -> int:
    """The positive number of this name."""
    value = values.get(name, default)
    if type(value) is not int or value <= 0:
        raise Refusal(EINVAL)
    return value
