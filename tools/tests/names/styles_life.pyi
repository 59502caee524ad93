# SPDX-License-Identifier: GPL-2.0-only
from tests.foreign.styles_life import *
