# SPDX-License-Identifier: GPL-2.0-only
from tests.servers.absurd import *
