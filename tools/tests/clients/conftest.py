# SPDX-License-Identifier: GPL-2.0-only
"""Imports of other programs' records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from vfio_compliance.clients.importers.command import Imported
from vfio_compliance.clients.trace import Reader, Record

#: Imports a record of a client: the result, and all records of the trace but the end.
Import: TypeAlias = Callable[..., tuple[Imported, list[Record]]]


@pytest.fixture
def import_by(tmp_path: Path) -> Import:
    """Takes an importer, the name and the content of a file, and options of the importer."""

    def make(
        importer: Callable[..., Imported], name: str, content: str | bytes, **options: Any
    ) -> tuple[Imported, list[Record]]:
        path, trace = tmp_path / name, tmp_path / "trace"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        trace.unlink(missing_ok=True)
        made = importer(path, trace, **options)
        *records, end = Reader(trace)
        assert end.verb == "end"
        return made, records

    return make
