# SPDX-License-Identifier: GPL-2.0-only
"""What is drawn: where everything goes, in the units of a picture. Each reads without colours, and as a table."""
