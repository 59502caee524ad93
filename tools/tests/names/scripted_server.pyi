# SPDX-License-Identifier: GPL-2.0-only
from tests.transport.scripted_server import *
