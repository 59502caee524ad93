# SPDX-License-Identifier: GPL-2.0-only
"""The socket and what travels over it: messages, the first exchange with a client, and its commands one by one.

This room knows no device. What carries the commands out is a ``session.Driver``.
"""
