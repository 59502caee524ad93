# SPDX-License-Identifier: GPL-2.0-only
"""What the guests of one call run on: KVM if a kernel really boots on it, else software emulation."""

import math
from collections.abc import Callable

from vfio_compliance.vm.boot import Boot
from vfio_compliance.vm.life import Life


class Accelerator:
    """The choice, made once for all kernels of a call by the first that comes up.

    ``wanted`` is auto, kvm or tcg, ``obstacle`` why KVM cannot be tried (empty: it can).
    """

    def __init__(self, wanted: str, obstacle: str) -> None:
        self._forced = wanted == "kvm"
        self._proven = False
        self.kvm = self._forced or (wanted == "auto" and not obstacle)
        #: The choice in words, before anything is booted.
        self.says = "KVM" if self.kvm else f"software emulation ({obstacle or 'as asked for'})"
        if self.kvm and not self._forced:
            self.says += ", or software emulation if no kernel comes up on it"

    def boot(self, attempt: Callable[[bool, Life], Boot], fall_back: Callable[[str], None]) -> Boot:
        """Boots by ``attempt(on KVM, whose life to follow)``, and again by emulation if no kernel runs on KVM.

        Then ``fall_back`` is called in between, with the reason. A kernel that comes up in neither way says
        nothing about KVM: the next one is tried on KVM again.
        """
        if not self.kvm or self._proven:
            return attempt(self.kvm, Life(math.inf, math.inf))
        result = attempt(True, Life(up=math.inf) if self._forced else Life())
        self._proven = bool(result.events)
        if self._forced or not result.stalled:
            return result
        fall_back(result.stalled)
        result = attempt(False, Life(math.inf, math.inf))
        self.kvm = not result.events
        return result
