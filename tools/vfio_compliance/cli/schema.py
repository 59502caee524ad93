# SPDX-License-Identifier: GPL-2.0-only
"""``python -m vfio_compliance.cli.schema > profiles/profile.schema.json`` renews the published format of profiles."""

from ..interfaces import PROFILE
from ..profiles.schema import text

if __name__ == "__main__":
    print(text(PROFILE), end="")
