# SPDX-License-Identifier: GPL-2.0-only
from tests.host.pci_tree import *
