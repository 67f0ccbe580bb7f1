# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shapes as the daemon's answers become them."""

from liveupdated.ctl.shapes import (
    Kernel,
    Phase,
    Plan,
    Session,
    SessionDetail,
    SessionWorkload,
    Status,
    Timeline,
    Workload,
)

NOW = 1_795_000_000_000_000


def workload(name: str, verdict: str = "restarted", kind: str = "units") -> Workload:
    carried = verdict == "carried"
    return Workload(
        id=f"{kind}:{name}",
        kind=kind,
        name=name,
        verdict=verdict,
        reason="opted in"
        if carried
        else "starts with the boot; its memory is lost, its disk state stays",
        source="/etc/liveupdated/workloads.d/a.toml" if carried else "",
        bytes=34 << 20 if carried else 0,
        cost_us=2_300_000 if carried else 0,
    )


def plan(*blockers: str) -> Plan:
    return Plan(
        kernel="deb-7.3.4",
        release="7.3.4+deb13-amd64",
        rung="live-update",
        rung_reason="another kernel is wanted",
        blackout_us=14_500_000,
        bytes=34 << 20,
        free_bytes=5 << 30,
        carrier="disk",
        carrier_reason="not pmem: nothing is mounted",
        stop="quick",
        blockers=list(blockers),
        workloads=[
            workload("redis-server.service", "carried", "service"),
            workload("cron.service"),
            workload("ssh.service"),
            workload("screen", "lost", "process"),
        ],
        candidates=[],
    )


def kernel(release: str, running: bool = False, **more: bool) -> Kernel:
    return Kernel(
        id=f"deb-{release}",
        release=release,
        architecture="x86_64",
        kind="bzimage",
        image=f"/boot/vmlinuz-{release}",
        initrds=[f"/boot/initrd.img-{release}"],
        command_line="root=/dev/nvme0n1",
        source="debian",
        features={"kexec-file": True},
        running=running,
        staged=more.get("staged", False),
        blocked=more.get("blocked", False),
        problems=[],
    )


def session() -> Session:
    return Session(
        id="0123456789abcdef0123456789abcdef",
        state="degraded",
        road="operator",
        rung="live-update",
        origin_kernel="6.12.57+deb13-amd64",
        target_kernel="7.3.4+deb13-amd64",
        arrival_kernel="7.3.4+deb13-amd64",
        created_us=NOW - 125_000_000,
        reason="one workload started fresh",
        notes=["the clock was set"],
        carrier="disk",
        stop="quick",
        predicted_blackout_us=15_000_000,
        blackout_us=14_500_000,
        outcomes={"restarted": 1, "carried": 1, "lost": 0},
    )


def session_detail() -> SessionDetail:
    def row(name: str, outcome: str, why: str, frozen: int) -> SessionWorkload:
        return SessionWorkload(
            **workload(name, "carried", "service"),
            outcome=outcome,
            outcome_reason=why,
            frozen_us=frozen,
        )

    return SessionDetail(
        **session(),
        workloads=[
            row("redis-server.service", "carried", "", 14_500_000),
            row("memcached.service", "restarted", "criu: pid 812 was taken", 0),
        ],
    )


def status() -> Status:
    return Status(
        version="0.1.0",
        state="idle",
        running_kernel="deb-6.12.57",
        staged_kernel="",
        rung="live-update",
        reboot_required=True,
        next_update_us=NOW + 7_200_000_000,
        inhibitors=[],
        last_session=session(),
    )


def timeline() -> Timeline:
    def phase(name: str, start: int, length: int, workload: str = "") -> Phase:
        return Phase(name=name, start_us=NOW + start, duration_us=length, workload=workload)

    return Timeline(
        session="0123456789abcdef0123456789abcdef",
        start_us=NOW,
        duration_us=8_000_000,
        blackout_us=7_500_000,
        predicted_blackout_us=8_000_000,
        phases=[
            phase("save", 0, 1_000_000),
            phase("stop+kexec", 1_000_000, 3_000_000),
            phase("kernel", 4_000_000, 2_000_000),
            phase("restore", 6_000_000, 2_000_000),
            phase("stop/request", 1_000_000, 40_000),
            phase("kernel/smp", 4_500_000, 500_000),
            phase("blackout", 100_000, 7_500_000, "service:redis-server.service"),
            phase("blackout/save", 100_000, 800_000, "service:redis-server.service"),
        ],
        marks=[],
        clock_steps=[],
        uncertainty_us=1_000_000,
        notes=["spans across the jump may be off by 1 s"],
    )
