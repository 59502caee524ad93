# SPDX-License-Identifier: GPL-2.0-only
from tests.refdriver.dirty_bench import *
