# SPDX-License-Identifier: GPL-2.0-only
"""The reference vendor driver: a small device that keeps every rule of the migration interface, version 1.

It is served over vfio-user, in a process of its own (``python -m refdriver``). DEVICE.md beside this file is
its datasheet. Comments cite the interface as ``kabi v23:LINE``: "vfio: KABI for migration interface", v23,
Message-ID <1589999088-31477-2-git-send-email-kwankhede@nvidia.com>, by line of the posted message.

A room for each part, which imports only from those before it: ``socket`` has messages and sessions, ``container``
guest memory and its dirty pages, ``device`` the registers and what a user asks of a device, ``migration_v1`` the
region that saves and resumes it. ``driver`` puts them together. All of these know nothing of how they are broken
on purpose: that is laid over their classes by the modules in the rooms' folders ``defects``, listed in
``defects.py``; ``overlays`` says how.
"""
