# SPDX-License-Identifier: GPL-2.0-only
from tests.refdriver.test_dirty_ranges import *
