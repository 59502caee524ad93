# SPDX-License-Identifier: GPL-2.0-only
"""What the specification allows a device to answer, access by access, whatever came before: the model of explorations.

It knows three kinds of answer: documented (there is one right answer), tolerated (the specification is silent, or the
client has left the documented order: either answer is right, and the model follows the device), and forbidden. It is
written from the specification, and knows no driver.
"""

from .answer import Answer, Deviation
from .device import DeviceModel, Saved
from .layout import Layout

__all__ = ["Answer", "Deviation", "DeviceModel", "Layout", "Saved"]
