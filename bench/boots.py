# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boots of a kernel that ends as soon as it has told its own log, and what that log says."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from liveupdated.advice import memory, processors
from liveupdated.advice.evidence import Evidence
from liveupdated.kernels import cmdline
from liveupdated.kernels.features import BuildConfig
from liveupdated.timeline import boot, kernellog, marks
from liveupdated.timeline.kernellog import KernelLog
from tests.lab.accel import accelerator
from tests.lab.errors import LabError
from tests.lab.image import Image, Kernel

TELL_LOG = Path(__file__).parent / "guest/tell-log"
LIMIT_S = 180.0
"""Of one boot; it takes 3 to 15 s under emulation."""

# lpj: a processor whose frequency is not known measures its delay loop, 100 ms or more each, one
# after the other; real ones need not (arch/x86/kernel/tsc.c, calibrate_delay_is_known()).
# dyndbg: the kernel tells when its processors come up in parallel.
WORDS = (
    "console=ttyS0 panic=-1 rdinit=/bench/tell-log log_buf_len=1M mitigations=off tsc=reliable "
    "no_timer_check cryptomgr.notests lpj=4000000 "
    'dyndbg="func arch_cpuhp_init_parallel_bringup +p"'
)
_INITRD_ALIGNMENT = 4  # Documentation/driver-api/early-userspace/buffer-format.rst


@dataclass(frozen=True)
class Seen:
    """What a log says, in seconds of the kernel's own clock; a phase that is not in it is not
    here."""

    phases: dict[str, float]
    facts: tuple[str, ...]
    """What our advice reads in it of processors and memory."""


def make_initrd(image: Image, folder: Path, after: Sequence[Path] = ()) -> Path:
    """An initrd with the program that tells the log, behind other initrds."""
    tree = folder / "tree"
    for name in ("bench", "proc", "dev"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    busybox = tree / "bench/busybox"
    shutil.copy(image.root / "usr/bin/busybox", busybox)
    shutil.copy(TELL_LOG, tree / "bench")
    names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
    command = [str(busybox), "cpio", "-o", "-H", "newc", "-R", "0:0"]
    done = subprocess.run(command, cwd=tree, input=names.encode(), capture_output=True, check=True)
    made = folder / f"initrd-{len(after)}"
    with made.open("wb") as file:
        for path in after:
            file.write(path.read_bytes())
            file.write(bytes(-file.tell() % _INITRD_ALIGNMENT))
        file.write(done.stdout)
    return made


def log_of(kernel: Kernel, initrd: Path, words: str, *, cpus: int, memory_mib: int) -> str:
    """Boot it; what it says on its console.  Raises LabError when it does not come to an end."""
    command = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"]
    command += ["-machine", "q35,sata=off,smbus=off", *accelerator(kernel.image)]
    command += ["-smp", str(cpus), "-m", str(memory_mib), "-nodefaults", "-no-reboot"]
    command += ["-display", "none", "-serial", "stdio", "-kernel", str(kernel.image)]
    command += ["-initrd", str(initrd), "-append", f"{WORDS} {words}"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"it takes longer than {LIMIT_S:.0f} s") from error
    said = done.stdout.decode(errors="replace").replace("\r", "")
    if "== end" not in said:
        raise LabError(f"it did not tell its log:\n{said[-2000:]}{done.stderr.decode()[-500:]}")
    return said.rpartition("== log")[2]


def build_of(image: Image, kernel: Kernel) -> BuildConfig:
    return BuildConfig((image.root / f"boot/config-{kernel.version}").read_bytes())


def read(log: str, release: str, build: BuildConfig) -> Seen:
    """What our own readers find in it.  Raises LabError when it is no whole boot."""
    records = kernellog.parse(log)
    shown = next((r.text for r in records if r.text.startswith("Command line: ")), "")
    words = cmdline.split(shown.partition(": ")[2])
    evidence = Evidence(
        release=release,
        log=KernelLog(records, "console"),
        moments=boot.kernel_moments(records),
        words=list(takewhile(lambda word: word != "--", words)),
        build=build,
    )
    kernel_us = evidence.kernel_ended_us
    if not kernel_us:
        raise LabError(f"no program was run:\n{log[-2000:]}")
    spans = {
        "processors": evidence.span_us(marks.SMP_START, marks.SMP_END),
        "deferred pages": evidence.span_us(marks.DEFERRED_START, marks.DEFERRED_END),
        "initramfs": evidence.span_us(marks.INITRAMFS_START, marks.INITRAMFS_END),
        "kernel": kernel_us,
    }
    facts = [*processors.findings(evidence).facts, *memory.findings(evidence).facts]
    return Seen(
        {name: span / 1e6 for name, span in spans.items() if span},
        tuple(fact.text for fact in facts),
    )
