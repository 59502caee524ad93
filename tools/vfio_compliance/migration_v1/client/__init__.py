# SPDX-License-Identifier: GPL-2.0-only
"""What the interface asks of the user program, judged on the accesses that it made to the migration region.

Pure: a judge takes accesses one after the other, whoever recorded them, and keeps no more of them than it needs to
judge the next one. What a client moved through a mapping is in no trace; where that may have happened nothing is
held against the client, and ``Judge.unclear`` says so.
"""

from .history import History
from .judge import CLAUSES, FREE, Judge

__all__ = ["CLAUSES", "FREE", "History", "Judge"]
