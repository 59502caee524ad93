from tests.host.pci_tree import *
