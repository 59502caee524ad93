# SPDX-License-Identifier: GPL-2.0-only
"""A root that caches the host's files."""

import os

from .programs import do

SHARE = "host_root"  # the tag of the host's root as a second 9p share


def enter_cached(keep: str) -> str:
    """Moves this process to a root that caches the host's files; returns a complaint, or nothing.

    The root that virtme-ng mounts asks the host at every look at a file, which makes starting Python under
    emulation several times slower. This root assumes that the files do not change while the guest runs. All of it
    is writable, in memory. ``keep`` is the folder that stays shared with the host.
    """
    lower, upper, root = "/run/vm/host", "/run/vm/changes", "/run/vm/root"
    for folder in (f"{upper}/upper", f"{upper}/work"):
        os.makedirs(folder, exist_ok=True)
    cached = "trans=virtio,version=9p2000.L,access=any,msize=512000,cache=loose,ro"
    # Real paths, since an absolute link would lead out of the new root. A host may have no /lib/modules, and a
    # kernel no modules: what is missing is made in the guest's memory, never on the host.
    places = [os.path.realpath(place) for place in ("/dev", "/proc", "/sys", "/lib/modules") if os.path.isdir(place)]
    layers = f"lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work"
    mounts = [
        ["-t", "9p", "-o", cached, SHARE, lower],
        ["-t", "overlay", "-o", layers, "overlay", root],
        *(["--rbind", place, root + place] for place in places),
        ["-t", "tmpfs", "tmpfs", f"{root}/run"],
        ["--bind", keep, root + os.path.realpath(keep)],
    ]
    for arguments in mounts:
        os.makedirs(arguments[-1], exist_ok=True)
        complaint = do(["mount", *arguments])
        if complaint:
            return complaint
    os.chroot(root)
    os.chdir("/")
    return ""
