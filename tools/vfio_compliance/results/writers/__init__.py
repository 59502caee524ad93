# SPDX-License-Identifier: GPL-2.0-only
"""Writers: each turns a summary into one kind of report."""
