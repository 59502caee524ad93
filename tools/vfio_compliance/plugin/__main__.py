# SPDX-License-Identifier: GPL-2.0-only
"""pytest as a test process runs it: nothing is looked through for garbage while it and the suites are loaded."""

import gc

gc.disable()  # pytest_runtestloop enables it

import sys  # noqa: E402

import pytest  # noqa: E402 - thousands of objects, all of which stay

from ..common.project import bytecode  # noqa: E402

# What pytest makes of the suites is kept, and never in an installation, of which some package manager takes care.
sys.pycache_prefix = sys.pycache_prefix or bytecode()
raise SystemExit(pytest.main())
