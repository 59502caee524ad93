# SPDX-License-Identifier: GPL-2.0-only
from tests.fuzz.hostile_server import *
