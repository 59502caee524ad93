# SPDX-License-Identifier: GPL-2.0-only
"""A signature beside a bundle, made and checked by OpenSSH: this program has no cryptography of its own.

ssh-keygen -Y sign -f KEY -n vfio-compliance FILE      writes FILE.sig
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from ..common.words import printable

NAMESPACE: Final = "vfio-compliance"
UNSIGNED: Final = "unsigned: this finds accidents, not forgery"

#: Seconds that OpenSSH may take.
_WITHIN: Final = 60


def beside(bundle: Path) -> Path:
    """Where the signature of a bundle is, if there is one."""
    return bundle.with_name(f"{bundle.name}.sig")


def check(bundle: Path, signers: Path | None) -> tuple[bool, str]:
    """Whether the signature is good, and in words how it is signed.

    ``signers`` is a file of allowed signers (ssh-keygen(1)); if it is given, a signature is required.
    """
    signature = beside(bundle)
    if not signature.exists():
        if signers is None:
            return True, UNSIGNED
        return False, f"unsigned, but a signer of {signers} is required: there is no {signature.name}"
    try:
        if signers is None:
            good, said = _ssh_keygen(bundle, "check-novalidate", "-s", signature)
            if good:
                return True, "signed, and unchanged since, but the signer is unknown: name --signers FILE"
            return False, f"the signature does not match: {printable(said)}"
        good, said = _ssh_keygen(bundle, "find-principals", "-s", signature, "-f", signers)
        if not good:
            return False, f"not signed by a signer of {signers}: {printable(said)}"
        signer = printable(said.splitlines()[0])
        good, said = _ssh_keygen(bundle, "verify", "-f", signers, "-I", signer, "-s", signature)
        return good, f"signed by {signer}" if good else f"the signature does not match: {printable(said)}"
    except (OSError, subprocess.SubprocessError) as error:
        return False, f"ssh-keygen (Debian: openssh-client) cannot check the signature: {error}"


def _ssh_keygen(bundle: Path, what: str, *options: str | Path) -> tuple[bool, str]:
    """Whether it succeeded, and its output. Raises OSError, SubprocessError."""
    with bundle.open("rb") as file:
        command = [
            "ssh-keygen",
            "-Y",
            what,
            *map(str, options),
            *([] if what == "find-principals" else ["-n", NAMESPACE]),
        ]
        done = subprocess.run(command, stdin=file, capture_output=True, timeout=_WITHIN)
    said = (done.stdout or done.stderr) if done.returncode == 0 else (done.stderr or done.stdout)
    return done.returncode == 0, said.decode("utf-8", "replace").strip() or "no output"
