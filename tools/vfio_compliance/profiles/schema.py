# SPDX-License-Identifier: GPL-2.0-only
"""The formats of profiles, plans and waivers as JSON Schema, for editors.

Whatever loads also fits the schema; the loader refuses more, such as a value too wide for its register.
"""

from __future__ import annotations

import json

from vfio_compliance.profiles.records import Record


def text(kind: Record, title: str) -> str:
    """The JSON Schema of the format ``kind`` (draft 7, which is what editors know best)."""
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "SPDX-License-Identifier: GPL-2.0-only; made by vfio_compliance.cli.schema",
        "title": title,
        **kind.schema(),
    }
    return json.dumps(schema, indent=2) + "\n"
