# SPDX-License-Identifier: GPL-2.0-only
"""pytest as a test process runs it: no garbage collection while it and the suites are loaded."""

import gc

gc.disable()  # pytest_runtestloop enables it

import sys  # noqa: E402

import pytest  # noqa: E402 - thousands of objects, all of which stay

from ..common.project import bytecode  # noqa: E402

# The bytecode of the suites is kept, but never in an installation, which belongs to a package manager.
sys.pycache_prefix = sys.pycache_prefix or bytecode()
raise SystemExit(pytest.main())
