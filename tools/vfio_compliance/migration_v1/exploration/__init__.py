# SPDX-License-Identifier: GPL-2.0-only
"""Random operations on a device, in sequence and from two threads at once, judged by a model of the specification."""
