# SPDX-License-Identifier: GPL-2.0-only
"""The Python file of a profile: which functions it has for steps to call, found without running it."""

from __future__ import annotations

import ast
import os
import stat
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vfio_compliance.common.words import counted
from vfio_compliance.profiles.document import LARGEST_FILE, WHOLE_FILE, Place, Problem, ProfileError, quoted

#: The most characters of Python's message on a file.
_LONGEST = 200


@dataclass(frozen=True)
class Parameter:
    """A parameter that is filled in by its name; one that has a default may be left out."""

    name: str
    optional: bool


@dataclass(frozen=True)
class Function:
    """A function on the top level of the file.

    ``line`` is that of its ``def``. ``parameters`` are those after the first, which is the device; ``takes_all`` says
    that it has a ``**`` parameter for all others. ``problem`` says why no step can call it; a helper
    function may have one.
    """

    name: str
    line: int
    parameters: tuple[Parameter, ...] = ()
    takes_all: bool = False
    problem: str | None = None

    def missing(self, known: Collection[str]) -> list[str]:
        """Required parameters that are not among the ``known`` names."""
        return [each.name for each in self.parameters if not each.optional and each.name not in known]

    def arguments(self, variables: Mapping[str, int]) -> dict[str, int]:
        """Those of the variables that it takes."""
        names = {each.name for each in self.parameters}
        return {name: value for name, value in variables.items() if self.takes_all or name in names}


@dataclass(frozen=True)
class Script:
    """The file as it was read: its path as in the profile, its text, and its functions by name."""

    path: Path
    text: str
    functions: Mapping[str, Function]


def functions(path: Path) -> dict[str, Function]:
    """The functions of a file by name. Raises ProfileError, as load() does."""
    return dict(load(path).functions)


def load(path: Path) -> Script:
    """Read a file of actions. Raises ProfileError for one that cannot be read, or is not Python."""
    text = _read(path)
    return Script(path, text, _functions(_parsed(path, text)))


def _read(path: Path) -> str:
    try:
        with open(path, "rb", opener=_open) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise _problem(path, "is not a regular file")
            content = stream.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _problem(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > LARGEST_FILE:
        raise _problem(path, f"larger than {LARGEST_FILE // 1024} KiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode().split("\n")
        place = Place(len(before), len(before[-1]) + 1)
        raise _problem(path, f"not text in UTF-8 (byte 0x{error.object[error.start]:02x})", place) from None


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # else a FIFO without a writer would block


def _parsed(path: Path, text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, str(path))
            compile(tree, str(path), "exec", dont_inherit=True)  # finds a `return` outside a function, and the like
    except SyntaxError as error:
        place = Place(error.lineno or 1, max(error.offset or 1, 1))
        raise _problem(path, f"Python syntax: {error.msg[:_LONGEST]}", place, text) from None
    except (RecursionError, MemoryError):
        raise _problem(path, "nested too deep for Python") from None
    except ValueError as error:  # a NUL, a lone surrogate
        raise _problem(path, f"not Python: {error}") from None
    return tree


def _problem(path: Path, message: str, place: Place = WHOLE_FILE, text: str = "") -> ProfileError:
    lines = text.split("\n")
    line = lines[place.line - 1].rstrip("\r") if 0 < place.line <= len(lines) else ""
    return ProfileError([Problem(str(path), place, message, line)])


def _functions(tree: ast.Module) -> dict[str, Function]:
    found: dict[str, Function] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = found.get(node.name)
            again = (
                f"{quoted(node.name)} is defined a second time; the first is in line {first.line}" if first else None
            )
            found[node.name] = _function(node, again)
    return found


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, problem: str | None) -> Function:
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    optional = [False] * (len(positional) - len(given.defaults)) + [True] * len(given.defaults)
    parameters = [Parameter(each.arg, has) for each, has in zip(positional, optional, strict=True)][1:]
    named = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    parameters += [Parameter(each.arg, default is not None) for each, default in named]
    problem = problem or next(_problems(node), None)
    return Function(node.name, node.lineno, tuple(parameters), given.kwarg is not None, problem)


def _problems(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Why a step cannot call a function."""
    name, given = quoted(node.name), node.args
    if isinstance(node, ast.AsyncFunctionDef):
        yield f"{name} is async; a step calls plain functions"
    if _yields(node):
        yield f"{name} has a `yield`; a step calls plain functions"
    if not given.posonlyargs and not given.args:
        yield f"{name} has no parameter for the device; it is handed over as the first one"
    if len(given.posonlyargs) > 1:
        others = given.posonlyargs[1:]
        yield (
            f"{name} has {counted(len(others), 'parameter')} before `/`, {quoted(others[0].arg)} first, which cannot be"
            " filled in by name; only the device may be there"
        )


_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def _yields(function: ast.AST) -> bool:
    """Whether a function is a generator; what functions inside it do is their own."""
    left = [function]  # a loop, since a sum of many terms is nested too deeply for recursion
    while left:
        inner = [each for each in ast.iter_child_nodes(left.pop()) if not isinstance(each, _SCOPES)]
        if any(isinstance(each, ast.Yield | ast.YieldFrom) for each in inner):
            return True
        left += inner
    return False
