# SPDX-License-Identifier: GPL-2.0-only
"""Loads modules, the kernel's or the user's own in place of these, each after its dependencies."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vfio_compliance.common.kernel_modules import kernel_name, listed, name_of

from . import programs


@dataclass(frozen=True)
class Own:
    """A module of the user: its file, its name in the kernel, parameters, dependencies."""

    path: str
    name: str
    parameters: Sequence[str] = ()
    needs: Sequence[str] = ()


@dataclass
class Loader:
    """Loads each module once; ``own`` by name."""

    own: dict[str, Own]
    release: str
    loaded: set[str] = field(default_factory=set)

    def load(self, name: str) -> str:
        """Loads a module and all that it needs; returns a complaint, or nothing."""
        name = kernel_name(name)
        if name in self.loaded:
            return ""
        self.loaded.add(name)  # first: a cycle of modules ends here
        own = self.own.get(name)
        for each in own.needs if own else self._needs(name):
            if complaint := self.load(each):
                return complaint
        if own:
            return self._insert(own)
        return _named(name, programs.do([programs.which("modprobe"), name]))

    def _insert(self, own: Own) -> str:
        if own.name in self._builtin():
            return f"{own.path}: this kernel has {own.name} built in: build it as a module (=m) to replace it"
        if Path("/sys/module", own.name, "initstate").exists():
            complaint = programs.do([programs.which("rmmod"), own.name])
            if complaint:
                return f"{own.path}: the kernel's own {own.name} is in use: {complaint}"
        return _named(own.path, programs.do([programs.which("insmod"), own.path, *own.parameters]))

    def _folder(self) -> Path:
        return Path("/lib/modules", self.release)

    def _needs(self, name: str) -> list[str]:
        """The dependencies of one of the kernel's modules; none if the kernel does not say."""
        needs = next((each.needs for each in listed(self._folder()) if each.name == name), [])
        return [name_of(each) for each in reversed(needs)]

    def _builtin(self) -> set[str]:
        try:
            return {name_of(line) for line in (self._folder() / "modules.builtin").read_text().splitlines()}
        except OSError:
            return set()


def _named(what: str, complaint: str) -> str:
    return complaint and (complaint if what in complaint else f"{what}: {complaint}")
