# SPDX-License-Identifier: GPL-2.0-only
"""pytest as a test process runs it: nothing is looked through for garbage while it and the suites are loaded."""

import gc

gc.disable()  # pytest_runtestloop enables it

import pytest  # noqa: E402 - thousands of objects, all of which stay

raise SystemExit(pytest.main())
