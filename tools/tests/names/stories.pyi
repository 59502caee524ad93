# SPDX-License-Identifier: GPL-2.0-only
from tests.results.stories import *
