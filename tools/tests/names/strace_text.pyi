# SPDX-License-Identifier: GPL-2.0-only
from tests.clients.strace_text import *
