# SPDX-License-Identifier: GPL-2.0-only
"""What the interface requires of the user program, judged by its accesses to the migration region.

Pure: a judge takes accesses one after another, from any recording, and keeps no more of them than it needs to judge
the next one. What a client moved through a mapping is not in any trace; if that may have happened, nothing counts
against the client, and ``Judge.unclear`` says so.
"""

from .history import History
from .judge import CLAUSES, FREE, Judge

__all__ = ["CLAUSES", "FREE", "History", "Judge"]
