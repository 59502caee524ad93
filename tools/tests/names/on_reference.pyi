# SPDX-License-Identifier: GPL-2.0-only
from tests.servers.on_reference import *
