# SPDX-License-Identifier: GPL-2.0-only
from tests.watch.frozen import *
