# SPDX-License-Identifier: GPL-2.0-only
"""All styles by name."""

from __future__ import annotations

import style
import styles_answers  # noqa: F401
import styles_data  # noqa: F401
import styles_dirty  # noqa: F401
import styles_life  # noqa: F401

STYLES = style.KNOWN
