# SPDX-License-Identifier: GPL-2.0-only
"""What a run found: verdicts, the journal that holds every event, and the writers that turn it into reports."""
