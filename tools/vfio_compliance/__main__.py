# SPDX-License-Identifier: GPL-2.0-only
"""``python -m vfio_compliance``."""

import sys

from .cli.main import main

sys.exit(main())
