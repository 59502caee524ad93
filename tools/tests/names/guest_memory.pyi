# SPDX-License-Identifier: GPL-2.0-only
from tests.refdriver.guest_memory import *
