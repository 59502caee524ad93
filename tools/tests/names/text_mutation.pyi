# SPDX-License-Identifier: GPL-2.0-only
from tests.fuzz.text_mutation import *
