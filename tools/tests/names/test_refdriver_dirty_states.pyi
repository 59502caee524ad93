# SPDX-License-Identifier: GPL-2.0-only
from tests.refdriver.test_refdriver_dirty_states import *
