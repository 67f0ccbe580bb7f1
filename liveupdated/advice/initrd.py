# SPDX-License-Identifier: LGPL-2.1-or-later
"""The initrd: how large it is, and how long it took to unpack and to run.

The messages are those of the kernel's init/initramfs.c.
"""

import re

from liveupdated.advice import Advice, Basis, Fact, Findings, parameters
from liveupdated.advice.evidence import Evidence
from liveupdated.kernels import lean
from liveupdated.timeline import marks

_FREED = re.compile(r"Freeing initrd memory: (\d+)K")


def findings(evidence: Evidence) -> Findings:
    unpacked = evidence.span_us(marks.INITRAMFS_START, marks.INITRAMFS_END)
    ran = evidence.span_us(marks.INITRD_START, marks.USERSPACE_START)
    sizes = (_FREED.match(record.text) for record in evidence.log.records)
    kib = next((int(size[1]) for size in sizes if size), 0)
    facts = []
    if kib or unpacked:
        size = f"{kib / 1024:.1f} MiB" if kib else "of a size that the log does not say"
        facts.append(Fact("initrd-unpack", f"initrd, {size}, unpacked", unpacked))
    if ran:
        facts.append(Fact("initrd-run", "initrd, running", ran))
    if not facts:
        none = [Fact("initrd-unpack", "no initrd was used")] if evidence.log.records else []
        return Findings(none)
    seen = [
        evidence.quote(record)
        for start in ("Trying to unpack rootfs", "Unpacking initramfs", "Freeing initrd memory")
        if (record := evidence.first(start))
    ]
    if ran:
        seen.append(f"time stamps: from the initrd's start to userspace {ran // 1000} ms")
    advice = []
    if evidence.is_off(parameters.INITRAMFS_ASYNC.name):
        advice.append(_meanwhile(evidence, unpacked, seen))
    tool = lean.tool(evidence.root)
    if tool and not tool.already(evidence.root):
        advice.append(
            Advice(
                id="initrd-lean",
                title="make an initrd that has only what this host needs",
                seen=seen,
                do=f"have {tool.name} make one for the jumps; the full one stays for every other "
                "boot. It has the drivers of the devices that are there, and of no others",
                command="liveupdatectl advise --apply --only initrd-lean",
                gain_us=unpacked + ran,
                basis=Basis.AT_MOST if unpacked + ran else Basis.UNKNOWN,
                lean_initrd=True,
                careful=True,
            )
        )
    return Findings(facts, advice)


def _meanwhile(evidence: Evidence, unpacked: int, seen: list[str]) -> Advice:
    word = f"{parameters.INITRAMFS_ASYNC.name}={evidence.parameter('initramfs_async')}"
    return Advice(
        id="initrd-async",
        title="unpack the initrd while devices are looked for",
        seen=[*seen, f"/proc/cmdline: {word}"],
        do=f"take {word} off the command line, unless it is there because this machine does not "
        "come up without",
        command="liveupdatectl advise --apply --only initrd-async",
        gain_us=unpacked,
        basis=Basis.AT_MOST if unpacked else Basis.UNKNOWN,
        remove=[parameters.INITRAMFS_ASYNC.name],
        careful=True,
    )
