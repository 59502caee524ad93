# SPDX-License-Identifier: GPL-2.0-only
from tests.profiles.waiver_texts import *
