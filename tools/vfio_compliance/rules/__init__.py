# SPDX-License-Identifier: GPL-2.0-only
"""The rules: what a conforming driver does, each with its clause of the interface."""

from .catalogue import LEVELS, SIDES, Catalogue, Rule, SpecError, by_defect, load, numbers

__all__ = ["LEVELS", "SIDES", "Catalogue", "Rule", "SpecError", "by_defect", "load", "numbers"]
