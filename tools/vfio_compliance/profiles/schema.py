# SPDX-License-Identifier: GPL-2.0-only
"""The format of a profile as JSON Schema, for editors.

`python -m vfio_compliance.profiles.schema > profiles/profile.schema.json` renews the published file. What
loads also fits the schema; the loader refuses more, such as a value too wide for its register.
"""

from __future__ import annotations

import json

from vfio_compliance.profiles.profile import PROFILE


def text() -> str:
    """The JSON Schema (draft 7, which is what editors know best)."""
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "SPDX-License-Identifier: GPL-2.0-only; made by vfio_compliance.profiles.schema",
        "title": "Profile of a device for vfio-compliance",
        **PROFILE.schema(),
    }
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    print(text(), end="")
