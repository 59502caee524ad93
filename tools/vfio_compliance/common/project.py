# SPDX-License-Identifier: GPL-2.0-only
"""Where the files outside of the package's code are: suites, profiles, the module's source, findings.

They are in one tree, which has the same layout in a checkout and in an installation.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Final

#: The folder of the package, and below it that of an installation's files. A checkout has no such folder.
PACKAGE: Final = Path(__file__).resolve().parents[1]
SHIPPED: Final = PACKAGE / "shipped"
#: Whether the package was installed, and is not in a checkout.
INSTALLED: Final = SHIPPED.is_dir()
#: The tree: a checkout, or the files of the installation. Nothing is written there while it is used.
PROJECT: Final = SHIPPED if INSTALLED else PACKAGE.parents[1]

SUITES: Final = PROJECT / "suites"
PROFILES: Final = PROJECT / "profiles"
KMOD: Final = PROJECT / "tools" / "kmod"
FINDINGS: Final = PROJECT / "tools" / "findings"


def cache() -> Path:
    """The user's folder for what can be made again, by the XDG base directory convention. It need not exist."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~"), ".cache")
    return home / "vfio-compliance"


def bytecode() -> str | None:
    """Where Python keeps compiled files of the suites; None: beside them, as in a checkout."""
    return str(cache() / "bytecode") if INSTALLED else None


def at(name: str) -> str:
    """A file of the tree, such as ``profiles/template.yaml``, by a path relative to the present folder."""
    try:
        here = Path.cwd()
    except OSError:  # the present folder was removed
        here = None
    return name if here == PROJECT else str(PROJECT / name)


def pip(extra: str) -> str:
    """The command that installs an extra of the package, for this Python."""
    what = [f"vfio_compliance[{extra}]"] if INSTALLED else ["-e", f"{at('.')}[{extra}]"]
    return shlex.join(["pip", "install", *what])
