# SPDX-License-Identifier: GPL-2.0-only
"""A small file system in a file, which can be frozen. A separate program mounts it, and cleans up once its input ends.

So it is thawed and unmounted and its loop device released, however the tests end: a store into a mapped file of a
frozen file system sleeps until it is thawed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

#: _IOWR('X', 119, int) and _IOWR('X', 120, int), of linux/fs.h.
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878

#: Seconds for processes that slept to end after the thaw.
_PATIENCE = 20.0


class CannotMount(Exception):
    """It cannot be mounted on this machine; the message says why."""


@contextlib.contextmanager
def file_system(image: Path, folder: Path) -> Iterator[None]:
    """An ext4 file system of 16 MiB in the file ``image``, mounted at ``folder``. Raises CannotMount."""
    folder.mkdir()
    command = [sys.executable, __file__, str(image), str(folder)]
    # In its own session: signals that end the tests do not end it.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as keeper:
        assert keeper.stdin
        assert keeper.stdout
        try:
            if (answer := keeper.stdout.readline().strip()) != "mounted":
                raise CannotMount(answer)
            yield
        finally:
            keeper.stdin.close()
            left = keeper.stdout.read().strip()
            keeper.wait()
        assert not left


def _main(image: Path, folder: Path) -> str:
    """Mounts it, says so, and unmounts it once the input ends. Returns the reason if this fails."""
    with contextlib.ExitStack() as undo:
        with open(image, "wb") as file:
            file.truncate(16 << 20)
        try:
            _do("mkfs.ext4", "-q", "-F", str(image))
            device = _do("losetup", "--find", "--show", str(image))
            undo.callback(_do, "losetup", "--detach", device)
            _do("mount", "-t", "ext4", device, str(folder))
        except (OSError, subprocess.CalledProcessError) as error:
            return str(getattr(error, "stderr", "") or error).strip()
        undo.callback(_unmount, folder)
        root = os.open(folder, os.O_RDONLY)
        undo.callback(_thaw, root)
        print("mounted", flush=True)
        sys.stdin.read()
    return ""


def _thaw(root: int) -> None:
    with contextlib.suppress(OSError):  # if it is not frozen
        fcntl.ioctl(root, FITHAW, 0)
    os.close(root)


def _unmount(folder: Path) -> None:
    """As soon as it is unused; lazily once the time is up."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            _do("umount", str(folder))
            return
        except subprocess.CalledProcessError:
            if time.monotonic() > end:
                _do("umount", "--lazy", str(folder))
                raise
            time.sleep(0.05)


def _do(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    print(_main(Path(sys.argv[1]), Path(sys.argv[2])))
