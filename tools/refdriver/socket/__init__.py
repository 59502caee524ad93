# SPDX-License-Identifier: GPL-2.0-only
"""The socket and its messages, the first exchange with a client, and its commands one by one.

This room knows no device. A ``session.Driver`` executes the commands.
"""
