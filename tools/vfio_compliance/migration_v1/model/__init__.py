# SPDX-License-Identifier: GPL-2.0-only
"""What the text allows a device to answer, access by access, whatever came before: the model that explorations go by.

It knows three kinds of answer: what is documented (there is one right answer), what is tolerated (the text is silent,
or the client has left the documented order: either answer is right, and the model follows the device), and what is
forbidden. It is made from the text, and knows no driver.
"""

from .answer import Answer, Deviation
from .device import DeviceModel, Saved
from .layout import Layout

__all__ = ["Answer", "Deviation", "DeviceModel", "Layout", "Saved"]
