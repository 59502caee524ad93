# SPDX-License-Identifier: GPL-2.0-only
"""A step of the build: records in a source archive, and in a wheel, what it was made from.

A wheel also gets the files of the top level that it needs, and the digest of each file in it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: Files of the top level that an installation needs, too: they start pytest on the suites.
_TOP = ("conftest.py", "tox.ini")


class Record(BuildHookInterface):
    """hatchling calls this before it collects files and after it has written the archive."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the record. An editable installation uses the checkout, and does not need one."""
        if version == "editable":
            return
        sys.path.insert(0, str(Path(self.root, "tools")))
        from vfio_compliance.common.origin import RECORD, built, file_digest

        made = built()
        into = Path("vfio_compliance", "shipped") if self.target_name == "wheel" else Path()
        included = build_data["force_include"]
        if self.target_name == "wheel":
            included |= {str(Path(self.root, name)): str(into / name) for name in _TOP}
            files = {file.distribution_path: file.path for file in self.build_config.builder.recurse_included_files()}
            files |= {target: source for source, target in included.items()}
            made = made._replace(files={name: file_digest(path) for name, path in sorted(files.items())})
        with tempfile.NamedTemporaryFile("w", prefix="vfio-", suffix=".json", delete=False) as file:
            json.dump(made._asdict(), file, indent=0)
        self._made = file.name
        included[file.name] = str(into / RECORD)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary file."""
        if version != "editable":
            with contextlib.suppress(OSError):
                Path(self._made).unlink()
