# SPDX-License-Identifier: GPL-2.0-only
"""The pictures: where everything goes, in a picture's units. Each can be read without colours, and as a table."""
