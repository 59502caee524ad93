# SPDX-License-Identifier: GPL-2.0-only
"""Random operations on a device, one after the other and from two threads at once, judged by the model of the text."""
