# SPDX-License-Identifier: GPL-2.0-only
"""Functions of a Python file beside the profile, called in a process of its own."""

from .host import ActionError, Actions
from .verbs import Verbs

__all__ = ["ActionError", "Actions", "Verbs"]
