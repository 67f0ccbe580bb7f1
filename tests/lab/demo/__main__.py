# SPDX-License-Identifier: LGPL-2.1-or-later
"""`python -m tests.lab.demo`: the demo from its first part to its last."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from liveupdated.session import State
from tests.lab import deb, image
from tests.lab.agent import AgentAway, AgentError
from tests.lab.errors import GuestGone, LabError
from tests.lab.image import Image
from tests.lab.qemu import Machine

from . import checks, sight
from .checks import Check
from .screen import BOLD, GREEN, RED, Screen

FROM, TO = "6.12", "7.3"
COMMAND_LIMIT_S = 600.0
JUMP_LIMIT_S = 900.0
"""From the call to the next kernel's first answer."""
CONFIRM_LIMIT_S = 600.0
"""From there to the session's end.  All limits are for a machine that is busy with other things."""
POLL_S = 1.0
MANAGER = "org.liveupdate1 /org/liveupdate1 org.liveupdate1.Manager"
TROUBLE = (LabError, AgentAway, AgentError, OSError, subprocess.SubprocessError)


class Demo:
    """The story; `checks` is what it has shown so far."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.checks: list[Check] = []

    def run(self) -> None:
        """All of it.  Raises one of TROUBLE where it cannot go on."""
        screen = self.screen
        with screen.part(f"A Debian with two kernels, {FROM} and {TO}"):
            screen.doing("from the cache, or built with mmdebstrap: that takes some minutes")
            system = image.image()
            screen.say(f"   {system.disk}")
        with screen.part("The Debian package of this tree"):
            screen.doing("packaging/build-deb")
            package = deb.build_deb()
            screen.say(f"   {package.name}")
        with ExitStack() as stack:
            with screen.part(f"A virtual machine on Linux {FROM}"):
                vm = self._boot(stack, system)
                self._shell(vm, "uname -r")
            try:
                self._in_the_machine(vm, package)
            except TROUBLE:
                screen.say(vm.evidence())
                raise
            if not all(check.true for check in self.checks):
                screen.say(vm.evidence())

    def _boot(self, stack: ExitStack, system: Image) -> Machine:
        """A plain Debian, running; `stack` switches it off."""
        self.screen.doing("booting")
        vm = stack.enter_context(Machine(system, kernel=FROM))
        vm.wait_running()
        return vm

    def _in_the_machine(self, vm: Machine, package: Path) -> None:
        with self.screen.part("The package is installed, as a user would do it"):
            self._install(vm, package)
        with self.screen.part("Redis with data, a counter, a transient unit, a stopped service"):
            before = self._furnish(vm)
        with self.screen.part("What can be booted, and what an update would do"):
            kernel = self._plan(vm)
        if not all(check.true for check in self.checks):
            raise LabError("there is no point in an update from here")
        with self.screen.part(f"The live update, through D-Bus: {FROM} to {TO}"):
            self._update(vm, kernel)
        with self.screen.part("The new kernel brings everything back and looks at itself"):
            session = self._wait_for_the_end(vm)
        with self.screen.part("What became of it all"):
            self._look_back(vm, before, session)

    def _install(self, vm: Machine, package: Path) -> None:
        vm.put(package, f"/root/{package.name}")
        self.screen.doing("apt-get install")
        command = f"DEBIAN_FRONTEND=noninteractive apt-get install -y /root/{package.name}"
        self._shell(vm, command, tail=6)

    def _furnish(self, vm: Machine) -> sight.Sight:
        for path in sight.furnish(vm):
            self.screen.say(f"   + {path}")
        for command in sight.SET_UP:
            self._shell(vm, command)
        vm.run(f"until [ $(wc -l < {sight.STATE}/log) -gt 1 ]; do sleep 0.2; done")
        before = sight.look(vm)
        self.checks += checks.of_the_start(before)
        return before

    def _plan(self, vm: Machine) -> str:
        """Show kernels and plan; the id of the kernel to update to."""
        self.screen.doing("liveupdatectl")
        self._shell(vm, "liveupdatectl kernels")
        # It exits with 7 where something blocks; the check says that better.
        self._shell(vm, "liveupdatectl plan", check=False)
        plan = json.loads(vm.run("liveupdatectl plan --json", check=False).stdout)
        self.checks += checks.of_the_plan(plan, TO)
        return str(plan["kernel"])

    def _update(self, vm: Machine, kernel: str) -> None:
        """Ask for the update and see it through to the first answer of another boot."""
        first = vm.boot_id()
        limit = time.monotonic() + JUMP_LIMIT_S
        words = f"Update 'a{{sv}}' 1 kernel s {shlex.quote(kernel)}"
        answer = self._shell(vm, f"busctl --timeout=120 call {MANAGER} {words}")
        self._follow_job(vm, shlex.split(answer)[-1], first, limit)
        self.screen.doing("waiting for the new kernel")
        vm.wait_boot(first, timeout=max(1.0, limit - time.monotonic()))

    def _follow_job(self, vm: Machine, job: str, boot: str, limit: float) -> None:
        """Tell what the job does until it is done, or the machine is between two kernels."""
        ask = f"busctl -j get-property org.liveupdate1 {job} org.liveupdate1.Job Step Result Error"
        with suppress(AgentAway, AgentError, GuestGone):
            while time.monotonic() < limit and vm.boot_id() == boot:
                # It fails while the machine goes down: the bus is one of the last to end.
                told = vm.run(ask, check=False, timeout=JUMP_LIMIT_S).stdout.splitlines()
                if len(told) == 3:
                    step, result, error = (json.loads(line)["data"] for line in told)
                    if result not in ("", "done"):
                        raise LabError(f"the update {result}: {error}")
                    self.screen.doing(step)
                time.sleep(POLL_S)

    def _wait_for_the_end(self, vm: Machine) -> dict[str, Any]:
        """Wait until the session is closed; the session."""
        self.screen.doing("waiting for the health checks")
        limit = time.monotonic() + CONFIRM_LIMIT_S
        state = "not to be had"
        while time.monotonic() < limit:
            # The daemon, or even the bus, may not be up yet.
            told = vm.run("liveupdatectl history last --json", check=False, timeout=COMMAND_LIMIT_S)
            if told.code == 0:
                session: dict[str, Any] = json.loads(told.stdout)
                state = session["state"]
                self.screen.doing(f"the session is {state}")
                if not State(state).open:
                    return session
            time.sleep(POLL_S)
        raise LabError(f"the session is {state} {CONFIRM_LIMIT_S:.0f} s after the new kernel began")

    def _look_back(self, vm: Machine, before: sight.Sight, session: dict[str, Any]) -> None:
        self.screen.doing("looking")
        after = sight.look(vm)
        for command in sight.SHOW:
            self._shell(vm, command, check=False)
        timeline = json.loads(vm.run("liveupdatectl timeline --json").stdout)
        self.checks += checks.of_the_end(before, after, session, timeline, TO)

    def _shell(self, vm: Machine, command: str, *, tail: int = 0, check: bool = True) -> str:
        """Run a command in the machine and show it, of its output the last `tail` lines or all."""
        done = vm.run(f"exec 2>&1\n{command}", check=check, timeout=COMMAND_LIMIT_S)
        lines = done.stdout.splitlines()
        if tail and len(lines) > tail:
            lines = ["[...]", *lines[-tail:]]
        self.screen.command(command, "\n".join(lines), done.code)
        return done.stdout


def conclude(screen: Screen, found: Sequence[Check]) -> int:
    """Print the times and the verdict; the exit code."""
    screen.say("\nHow long it took", BOLD)
    for name, seconds in screen.times:
        screen.say(f"   {seconds:7.1f} s  {name}")
    screen.say(f"   {sum(seconds for _, seconds in screen.times):7.1f} s  together")
    screen.say("\nWhat was shown", BOLD)
    for check in found:
        word = screen.styled("PASS", GREEN) if check.true else screen.styled("FAIL", RED, BOLD)
        screen.say(f"   {word}  {check.sentence}")
        screen.say(f"         {check.seen}")
    failed = sum(not check.true for check in found)
    if failed:
        screen.say(f"\n{failed} of {len(found)} failed; the evidence is above", RED, BOLD)
        return 1
    screen.say(f"\nAll {len(found)} passed.", GREEN, BOLD)
    return 0


def main() -> int:
    screen = Screen()
    demo = Demo(screen)
    try:
        demo.run()
    except TROUBLE as error:
        reason = f"{type(error).__name__}: {error}"
        demo.checks.append(Check("the demo came to its end", False, reason))
    except KeyboardInterrupt:
        screen.say("\ninterrupted; the machine is off", RED)
        return 130
    return conclude(screen, demo.checks)


if __name__ == "__main__":
    sys.exit(main())
