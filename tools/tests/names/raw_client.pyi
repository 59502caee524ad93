# SPDX-License-Identifier: GPL-2.0-only
from tests.refdriver.raw_client import *
