# SPDX-License-Identifier: GPL-2.0-only
from tests.refdriver.test_sessions import *
