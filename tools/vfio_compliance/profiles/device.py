# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF009 (key() makes a dataclass field)
"""How to reach the device."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from yaml.nodes import ScalarNode

from vfio_compliance.common.words import counted
from vfio_compliance.profiles.document import Document, quoted
from vfio_compliance.profiles.kinds import Choice, Integer, Kind, Text
from vfio_compliance.profiles.records import ListOf, OrNone, Record, Variant, key

_PLACEHOLDERS = ("{socket}", "{python}", "{project}")
_LONGEST_SOCKET_PATH = 107  # sockaddr_un holds 108 bytes, the last of them zero


@dataclass(frozen=True, kw_only=True)
class KernelDefects:
    """How a kernel module takes the names of the defects to switch on; only for the reference module."""

    parameter: str = key(Text("a path"), "Module parameter; a comma list is written to it and undone afterwards.")


@dataclass(frozen=True, kw_only=True)
class ServerDefects:
    """How a server takes the names of the defects to switch on; only for the reference server."""

    option: str = key(
        Text("an argument with `{name}` in it", r".*\{name\}.*"),
        "Argument added to `command` for each defect.",
    )


class _Argument(Text):
    """An argument of a command, in which some `{words}` are filled in later. Other braces are kept."""

    def __init__(self, *placeholders: str) -> None:
        super().__init__("an argument", blank=True)
        self.placeholders = placeholders

    def parse(self, node: ScalarNode, document: Document) -> Any:
        text = super().parse(node, document)
        for placeholder in re.findall(r"(?<!\$)\{\w+\}", text):
            if placeholder in self.placeholders:
                continue
            if placeholder in _PLACEHOLDERS:
                raise ValueError(f"`{placeholder}` is filled in only in `command`")
            if hint := document.did_you_mean(placeholder, self.placeholders, likeness=0.8):
                raise ValueError(f"{quoted(placeholder)} is not filled in here{hint}")
        return text


def _command(*placeholders: str) -> Kind:
    return ListOf(_Argument(*placeholders), "a list of arguments such as [program, argument]", at_least=1)


def _recovery() -> Any:
    return key(
        _command(),
        "Command that brings the device back when reset and reopening do not; run as it is, without a shell.",
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class SpareInKernel:
    """A device of the same kind that replaces one that does not come back."""

    name: str = key(Text("a name"), "Name the kernel knows it by.")
    group: int | None = key(Integer(0, 2**31 - 1), "Number of its IOMMU group.", default=None)
    sysfs: str | None = key(Text("a path"), "Its folder in /sys, whose link iommu_group gives the group.", default=None)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class SecondInKernel(SpareInKernel):
    """Another device of the same kind, in a group of its own or in the same."""

    recovery: tuple[str, ...] | None = _recovery()


@dataclass(frozen=True, kw_only=True)
class SpareServer:
    """The server of a device of the same kind that replaces one that does not come back."""

    socket: str = key(Text("a path"), "Its socket.")

    def __str__(self) -> str:
        return self.socket


@dataclass(frozen=True, kw_only=True)
class SecondServer:
    """Another server of a device of the same kind."""

    socket: str | None = key(
        Text("a path"), "Its socket. Left out: a private one, for `command` to listen on.", default=None
    )
    recovery: tuple[str, ...] | None = _recovery()


_SECOND = (
    "Another device of the same kind, on which a saved state is restored. Left out: on the device itself, and the "
    "rules on two devices are not-run; `none`: there is no second device."
)
_SPARES = "Devices of the same kind that replace the device, in this order, if it does not come back."
_GROUP = ("group", "sysfs")


def _second(kind: Record) -> Any:
    return key(OrNone(kind), _SECOND, default=None)


def _spares(kind: Record) -> Any:
    return key(ListOf(kind, "a list of devices"), _SPARES, default=())


def _named_twice(devices: Mapping[str, Mapping[str, str | None]]) -> Iterator[tuple[str, str]]:
    """A problem for each device that is named twice; each path has the keys that identify the device."""
    seen: dict[tuple[str, str], str] = {}
    for path, names in devices.items():
        for name, written in names.items():
            if written is None:
                continue
            earlier = seen.setdefault((name, written if name == "name" else os.path.realpath(written)), path)
            if earlier != path:
                role = _ROLES.get(earlier, "a spare already")
                yield f"{path}.{name}", f"{quoted(written)} is {role}; name another one"
                break


_ROLES = {"": "the device itself", "second": "the second device"}


@dataclass(frozen=True, kw_only=True)
class KernelGroupDevice:
    """A device behind /dev/vfio/GROUP of the running kernel."""

    transport: Literal["kernel-group"] = key(Choice("kernel-group"), "The device is reached through the kernel.")
    name: str = key(Text("a name"), "Name the kernel knows the device by: for PCI its address, in quotes.")
    group: int | None = key(Integer(0, 2**31 - 1), "Number of its IOMMU group.", default=None)
    sysfs: str | None = key(Text("a path"), "Its folder in /sys, whose link iommu_group gives the group.", default=None)
    second: SecondInKernel | None = _second(Record(SecondInKernel, exactly_one=_GROUP))
    recovery: tuple[str, ...] | None = _recovery()
    spares: tuple[SpareInKernel, ...] = _spares(Record(SpareInKernel, exactly_one=_GROUP))
    defects: KernelDefects | None = key(Record(KernelDefects), "Only for a device made to be broken.", default=None)

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from _named_twice(
            {path: {"name": device.name, "sysfs": device.sysfs} for path, device in _devices(self).items()}
        )


@dataclass(frozen=True, kw_only=True)
class VfioUserDevice:
    """A device that a vfio-user server offers on a UNIX socket."""

    transport: Literal["vfio-user"] = key(Choice("vfio-user"), "The device is reached through a vfio-user server.")
    socket: str | None = key(
        Text("a path"),
        "The server's socket. Left out: a private one, for `command` to listen on.",
        default=None,
    )
    command: tuple[str, ...] | None = key(
        _command(*_PLACEHOLDERS),
        "Starts the server, without a shell. `{socket}` becomes the path of the socket, `{python}` the "
        "running Python, `{project}` the folder of this project. Left out: the server runs already.",
        default=None,
    )
    second: SecondServer | None = _second(Record(SecondServer))
    recovery: tuple[str, ...] | None = _recovery()
    spares: tuple[SpareServer, ...] = _spares(Record(SpareServer))
    defects: ServerDefects | None = key(Record(ServerDefects), "Only for a server made to be broken.", default=None)

    def problems(self) -> Iterator[tuple[str, str]]:
        sockets = {path: device.socket for path, device in _devices(self).items()}
        for path, socket in sockets.items():
            if socket is not None and len(socket.encode()) > _LONGEST_SOCKET_PATH:
                most = counted(_LONGEST_SOCKET_PATH, "byte")
                yield f"{path}.socket".lstrip("."), f"the path of a socket has at most {most}"
        yield from _named_twice({path: {"socket": socket} for path, socket in sockets.items()})
        if self.command is None:
            if self.defects is not None:
                yield "defects", "`defects` adds arguments to `command`, but there is no `command`"
            if self.second and self.second.socket is None:
                yield "second", "give its `socket`, because no `command` starts a server"
        elif any("{socket}" in argument for argument in self.command):
            pass
        elif self.second:
            yield "command", "one argument must hold `{socket}` for the second server to know where to listen"
        elif self.socket is None:
            yield (
                "command",
                "without `socket`, one argument must hold `{socket}` for the server to know where to listen",
            )


def _devices(device: Any) -> dict[str, Any]:
    """The device, its second one and its spares, by their paths below `device`."""
    second = {"second": device.second} if device.second else {}
    return {"": device, **second, **{f"spares.{index}": spare for index, spare in enumerate(device.spares)}}


def commands(device: KernelGroupDevice | VfioUserDevice) -> dict[str, tuple[str, ...]]:
    """Every program that a run may start, by the dotted path of its key."""
    found = {
        "device.command": device.command if isinstance(device, VfioUserDevice) else None,
        "device.recovery": device.recovery,
        "device.second.recovery": device.second.recovery if device.second else None,
    }
    return {path: command for path, command in found.items() if command}


DEVICE = Variant(
    "transport",
    {
        "vfio-user": Record(VfioUserDevice, at_least_one=("socket", "command")),
        "kernel-group": Record(KernelGroupDevice, exactly_one=_GROUP),
    },
)
