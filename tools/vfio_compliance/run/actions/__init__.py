# SPDX-License-Identifier: GPL-2.0-only
"""Functions of a Python file next to the profile, called in a separate process."""

from .host import ActionError, Actions
from .verbs import Verbs

__all__ = ["ActionError", "Actions", "Verbs"]
