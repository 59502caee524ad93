# SPDX-License-Identifier: GPL-2.0-only
from tests.results.kernel_parser import *
