# SPDX-License-Identifier: GPL-2.0-only
"""Asks the host's own package mirror for kernels, through a private apt state; the host's is not changed."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from vfio_compliance.vm.errors import VmError
from vfio_compliance.vm.packages import Package, parse

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

#: The place in apt's configuration for the indexes that it fetches.
_TARGETS = "Acquire::IndexTargets::deb"


class Mirror:
    """Where the host gets Debian from: archive addresses and code name, from its apt configuration."""

    def __init__(self, archive: str, security: str | None, codename: str) -> None:
        self.archive = archive
        self.security = security
        self.codename = codename

    @classmethod
    def of_host(cls) -> "Mirror":
        """Raises VmError if the host's apt configuration names no Debian archive."""
        layout = "$(REPO_URI) $(CODENAME)"
        done = subprocess.run(
            ["apt-get", "indextargets", "--format", layout, "Created-By: Packages", "Origin: Debian"],
            capture_output=True,
            text=True,
            check=False,
        )
        return cls.from_targets(done.stdout)

    @classmethod
    def from_targets(cls, text: str) -> "Mirror":
        """Reads lines of ``address codename``. Raises VmError if none is a Debian release."""
        archive = codename = security = None
        for line in text.splitlines():
            address, _, suite = line.strip().partition(" ")
            if suite.endswith("-security"):
                security = security or address
            elif re.fullmatch(r"[a-z]+", suite) and archive is None:
                archive, codename = address, suite
        if archive is None or codename is None:
            raise VmError(
                "this host's apt knows no Debian archive to fetch kernels from: run `apt-get update`, "
                "or bring a kernel with --kernel PATH"
            )
        return cls(archive, security, codename)

    def sources(self, codename: str) -> str:
        """The sources.list of one Debian release: its archive, security and backports suites."""
        option = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
        suites = [(self.archive, codename), (self.archive, f"{codename}-backports")]
        if self.security:
            suites.append((self.security, f"{codename}-security"))
        return "".join(f"deb {option}{address} {suite} main\n" for address, suite in suites)


def _packages_alone() -> list[str]:
    """Options that limit apt to fetching package indexes.

    Other tools on the host, such as apt-file, ask for more: those are large, and a missing one would fail all.
    """
    dumped = subprocess.run(["apt-config", "dump", _TARGETS], capture_output=True, text=True, check=False).stdout
    names = sorted({*re.findall(rf"^{_TARGETS}::([^: ]+)", dumped, re.MULTILINE)} - {"Packages"})
    return [f"-o{_TARGETS}::{name}::DefaultEnabled=false" for name in names]


class Apt:
    """apt-get with all of its state under one folder of ours."""

    def __init__(self, state: Path, sources: str) -> None:
        self.state = state
        (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (state / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        (state / "sources.list").write_text(sources)
        (state / "status").touch()

    def _options(self) -> list[str]:
        settings = {
            "Dir::State": self.state,
            "Dir::State::Lists": self.state / "lists",
            "Dir::State::Status": self.state / "status",
            "Dir::Cache": self.state,
            "Dir::Etc::SourceList": self.state / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "1",
            "Acquire::http::Timeout": "20",
        }
        return [f"-o{key}={value}" for key, value in settings.items()]

    def _run(self, tool: str, *arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [tool, *self._options(), *arguments],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def update(self) -> str:
        """Fetches the indexes; returns the reason if the mirror does not answer. The old indexes stay then.

        A suite that the mirror does not carry (backports come and go) does not count.
        """
        done = self._run("apt-get", *_packages_alone(), "-q", "update")
        for line in done.stderr.splitlines():
            failed = re.match(r"[EW]: Failed to fetch \S+\s+(.*)", line)
            if failed and not failed[1].startswith("404"):
                return failed[1].strip()
        return ""

    def kernel_index(self) -> dict[str, Package]:
        """Every kernel package that the indexes list."""
        names = self._run("apt-cache", "pkgnames", "linux-").stdout.split()
        wanted = [n for n in names if re.match(r"linux-(image|binary|modules|headers|kbuild|base)-.*\d", n)]
        if not wanted:
            return {}
        return parse(self._run("apt-cache", "show", *wanted).stdout)

    def download(self, packages: Sequence[Package], folder: Path) -> list[Path]:
        """Downloads the packages' files to a folder. Raises VmError with apt's words if that fails."""
        done = self._run("apt-get", "-q", "download", *(f"{p.name}={p.version}" for p in packages), cwd=folder)
        if done.returncode:
            raise VmError("apt-get download failed", done.stderr.strip())
        return sorted(folder.glob("*.deb"))
