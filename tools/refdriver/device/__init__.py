# SPDX-License-Identifier: GPL-2.0-only
"""The device itself: registers, memory, the DMA stream, and its regions as a user finds them.

It runs or is stopped. Its migration is in a room of its own, one for each version of that interface.
"""
