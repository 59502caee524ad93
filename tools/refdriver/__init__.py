# SPDX-License-Identifier: GPL-2.0-only
"""The reference vendor driver: a small device that keeps every rule of the migration interface, version 1.

It is served over vfio-user, in a process of its own (``python -m refdriver``). DEVICE.md beside this file is
its datasheet. Comments cite the interface as ``kabi v23:LINE``: "vfio: KABI for migration interface", v23,
Message-ID <1589999088-31477-2-git-send-email-kwankhede@nvidia.com>, by line of the posted message.

From the wire inwards: ``server`` accepts clients, ``session`` answers one client's commands, ``connection``
frames messages after ``wire``; ``device`` holds the regions, of which ``machine`` is the one that works and
``migration`` the one that saves and resumes it; ``memory`` and ``dirty`` are the guest's memory as the device
sees it. ``defects`` names the ways in which all this can be broken on purpose.
"""
