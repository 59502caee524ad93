# SPDX-License-Identifier: GPL-2.0-only
"""Loads the plugin; everything else is in tools/vfio_compliance."""

pytest_plugins = ["vfio_compliance.plugin.hooks"]
