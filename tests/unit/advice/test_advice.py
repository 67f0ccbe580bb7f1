# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is advised, and that no gain is made up."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveupdated.advice import Advice, Basis, Fact, largest_first
from liveupdated.advice import console as console_advice
from liveupdated.advice import initcalls as initcall_advice
from liveupdated.advice import initrd as initrd_advice
from liveupdated.advice import memory as memory_advice
from liveupdated.advice import processors as processor_advice
from liveupdated.advice.report import report
from liveupdated.kernels.features import BuildConfig
from liveupdated.timeline import marks
from tests.unit.advice.boots import (
    CLOUD,
    INITCALLS,
    INITRD,
    PARALLEL,
    SERIAL_CONSOLE,
    made,
    real,
)

NO_PARALLEL = CLOUD.replace("CONFIG_HOTPLUG_PARALLEL=y", "# CONFIG_HOTPLUG_PARALLEL is not set")


def only(advice: list[Advice]) -> Advice:
    [one] = advice
    return one


# --- real boots ---


@pytest.mark.parametrize(
    ("name", "processors", "deferred"),
    [("trixie-6.12", 141_849, 56_000), ("trixie-7.3", 131_691, 20_000)],
)
def test_a_real_boot(name: str, processors: int, deferred: int) -> None:
    found = report(real(name))
    facts = {fact.name: fact for fact in found.facts}
    assert facts["processors"] == Fact(
        "processors",
        "2 processors, in parallel: CONFIG_HOTPLUG_PARALLEL, and nothing in the log against it",
        processors,
    )
    assert facts["deferred-pages"].duration_us == deferred
    assert "ttyS0" in facts["console"].text
    assert facts["initrd-unpack"].text == "no initrd was used"
    # It has quiet, all options, and no initrd: what is left is to look closer.
    advice = only(found.advice)
    assert advice.id == "initcalls"
    assert advice.basis is Basis.UNKNOWN
    assert all("ms of silence after /dev/kmsg: [" in line for line in advice.seen)
    assert found.unread == []


@pytest.mark.parametrize("name", ["trixie-6.12", "trixie-7.3"])
def test_a_real_boot_had_it_not_been_quiet(name: str) -> None:
    evidence = real(name)
    evidence.words.remove("quiet")
    advice = only([a for a in report(evidence).advice if a.id == "console-quiet"])
    assert advice.add == ["quiet"]
    if name == "trixie-7.3":
        # Its 8250 driver prints from a thread: the log cannot tell what that cost.
        assert (advice.basis, advice.gain_us) == (Basis.UNKNOWN, 0)
        assert any("thread of its own" in line for line in advice.seen)


# --- order ---


def test_the_largest_gain_comes_first_and_unknown_ones_last() -> None:
    advice = [
        Advice("a", "", [], "", basis=Basis.UNKNOWN),
        Advice("b", "", [], "", gain_us=1_000, basis=Basis.COMPUTED),
        Advice("c", "", [], "", gain_us=999, basis=Basis.COMPUTED),
        Advice("d", "", [], "", gain_us=2_000, basis=Basis.AT_MOST),
    ]
    assert [each.id for each in largest_first(advice)] == ["d", "b", "a"]


# --- processors ---


@pytest.mark.parametrize("value", ["0", "off", "N"])
def test_serial_by_the_command_line(value: str) -> None:
    found = processor_advice.findings(made(PARALLEL, f"quiet cpuhp.parallel={value}"))
    advice = only(found.advice)
    assert (advice.gain_us, advice.basis) == (1_499_991, Basis.AT_MOST)
    assert advice.remove == ["cpuhp.parallel"]
    assert advice.seen == [
        "/dev/kmsg: [    0.431229] smp: Bringing up secondary CPUs ...",
        "/dev/kmsg: [    1.931220] smp: Brought up 2 nodes, 16 CPUs",
        f"/proc/cmdline: cpuhp.parallel={value}",
    ]


def test_serial_by_the_kernel() -> None:
    found = processor_advice.findings(made(PARALLEL, "cpuhp.parallel=1", NO_PARALLEL))
    assert only(found.advice).id == "processors-kernel"
    assert not only(found.advice).applicable
    assert only(found.advice).do.endswith("No other kernel of this host is known to have it")
    others = {"6.1.0": BuildConfig(b""), "7.3.4": BuildConfig(CLOUD.encode())}
    evidence = replace(made(PARALLEL, build=NO_PARALLEL), others=others)
    assert only(processor_advice.findings(evidence).advice).do.endswith("these have it: 7.3.4")


def test_serial_by_the_platform_is_told_and_nothing_advised() -> None:
    log = PARALLEL.replace(
        "smpboot: x86: Booting SMP configuration:",
        "smpboot: Parallel CPU startup disabled by the platform",
    )
    found = processor_advice.findings(made(log))
    assert found.advice == []
    assert "disabled by the platform" in found.facts[0].text


def test_parallel_by_the_kernels_own_word() -> None:
    log = PARALLEL.replace(
        "smpboot: x86: Booting SMP configuration:",
        "smpboot: Parallel CPU startup enabled: 0x80000000",
    )
    found = processor_advice.findings(made(log, build=None))
    assert found.advice == []
    assert found.facts[0].text == "16 processors, in parallel, as the log says"


def test_without_configuration_it_is_not_known() -> None:
    found = processor_advice.findings(made(PARALLEL, build=None))
    assert found.advice == []
    assert "not known" in found.facts[0].text


def test_one_processor() -> None:
    log = PARALLEL.replace("2 nodes, 16 CPUs", "1 node, 1 CPU")
    assert processor_advice.findings(made(log)).facts == []


# --- memory ---


def test_nodes_side_by_side() -> None:
    log = (
        "[    0.256921] node 0 deferred pages initialised in 36ms\n"
        "[    0.266921] node 1 deferred pages initialised in 88ms\n"
        "[    0.300000] HugeTLB: allocation took 706ms with hugepage_allocation_threads=32\n"
    )
    found = memory_advice.findings(made(log))
    assert [fact.duration_us for fact in found.facts] == [88_000, 706_000]
    assert found.advice == []


def test_a_kernel_without_deferred_pages_has_no_time_for_them() -> None:
    log = "[    0.6] x\n[    0.626214] Memory: 2965492K/3145208K available (17852K kernel code)\n"
    advice = only(memory_advice.findings(made(log, build="")).advice)
    assert (advice.gain_us, advice.basis) == (0, Basis.UNKNOWN)
    assert "DEFERRED_STRUCT_PAGE_INIT is not set" in advice.seen[0]
    assert "2965492K/3145208K" in advice.seen[1]
    assert memory_advice.findings(made(log, build=None)).advice == []


# --- console ---


def test_a_serial_console_is_measured_by_what_it_was_given_at_once() -> None:
    found = console_advice.findings(made(SERIAL_CONSOLE, "console=tty0 console=ttyS0,115200"))
    advice = only(found.advice)
    assert advice.basis is Basis.COMPUTED
    assert advice.add == ["quiet"]
    assert advice.remove == []
    # Nearly all that was printed is what the 1.8 s were for.
    assert advice.gain_us == pytest.approx(1_804_020, rel=0.02)
    assert any("measured" in line for line in advice.seen)


def test_without_that_the_lines_speed_says_it() -> None:
    log = SERIAL_CONSOLE.replace("1.951453", "0.147433")
    advice = only(console_advice.findings(made(log, "console=ttyS0,9600n8")).advice)
    assert advice.basis is Basis.COMPUTED
    assert advice.gain_us == pytest.approx(10_200 * 10 / 9600 * 1e6, rel=0.03)
    virtual = "<6>[    0.000000] Hypervisor detected: KVM\n" + log
    advice = only(console_advice.findings(made(virtual, "console=ttyS0,9600n8")).advice)
    assert (advice.gain_us, advice.basis) == (0, Basis.UNKNOWN)


def test_a_clock_that_stood_still_measures_nothing() -> None:
    log = SERIAL_CONSOLE.replace("0.146896", "0.147433")
    advice = only(console_advice.findings(made(log, "console=ttyS0")).advice)
    assert advice.basis is Basis.UNKNOWN


def test_an_early_console_has_taken_the_replay_away() -> None:
    early = "<6>[    0.000000] printk: legacy bootconsole [earlyser0] enabled\n"
    found = console_advice.findings(made(early + SERIAL_CONSOLE, "earlyprintk=serial,ttyS0"))
    ids = {advice.id: advice for advice in found.advice}
    assert ids["console-quiet"].basis is Basis.UNKNOWN
    assert ids["console-early"].remove == ["earlyprintk"]


def test_a_console_with_a_thread_of_its_own_has_no_known_cost() -> None:
    log = SERIAL_CONSOLE.replace("legacy ", "")
    advice = only(console_advice.findings(made(log, release="7.3.4")).advice)
    assert advice.basis is Basis.UNKNOWN
    # Before 6.7 no console was called a legacy one, and none had a thread.
    old = only(console_advice.findings(made(log, release="6.1.0-9-amd64")).advice)
    assert old.basis is Basis.COMPUTED


@pytest.mark.parametrize("line", ["quiet", "debug quiet", "loglevel=7 quiet", "loglevel=3"])
def test_a_quiet_boot_needs_no_advice(line: str) -> None:
    assert console_advice.findings(made(SERIAL_CONSOLE, line)).advice == []


@pytest.mark.parametrize(
    ("line", "remove"),
    [("quiet ignore_loglevel", ["ignore_loglevel"]), ("quiet debug", []), ("quiet loglevel=7", [])],
)
def test_what_is_louder_than_quiet(line: str, remove: list[str]) -> None:
    advice = only(console_advice.findings(made(SERIAL_CONSOLE, line)).advice)
    assert (advice.add, advice.remove) == (["quiet"], remove)


# --- initcalls ---


def test_slow_initcalls_are_named() -> None:
    found = initcall_advice.findings(made(INITCALLS))
    assert [(a.id, a.gain_us) for a in found.advice] == [
        ("initcall-init_module", 250_000),
        ("initcall-acpi_init", 104_216),
        ("initcall-pnp_system_init", 70_651),
    ]
    assert "module_blacklist=nvme_core" in found.advice[0].command
    assert "initcall_blacklist=acpi_init" in found.advice[1].command
    assert not any(a.applicable for a in found.advice)
    assert found.facts[0].duration_us == 70_651 + 104_216 + 9_999


def test_initcall_debug_is_switched_off_when_it_has_told() -> None:
    found = initcall_advice.findings(made(INITCALLS, "initcall_debug"))
    assert found.advice[0].remove == ["initcall_debug"]


def test_how_to_see_initcalls() -> None:
    log = "".join(
        f"[    0.{stamp}00000] {text}\n"
        for stamp, text in (
            (0, "a"),
            (1, "before"),
            (4, "after"),
            (6, "the clock stands"),
            (6, "and stands"),
            (9, "and jumps"),
            (9, "Run /init as init process"),
        )
    )
    advice = only(initcall_advice.findings(made(log)).advice)
    assert advice.basis is Basis.UNKNOWN
    assert advice.seen == [
        "300 ms of silence after /dev/kmsg: [    0.100000] before",
        "200 ms of silence after /dev/kmsg: [    0.400000] after",
    ]
    assert initcall_advice.findings(made()).advice == []


# --- initrd ---


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_full_initrd(tmp_path: Path) -> None:
    put(tmp_path / "etc/initramfs-tools/initramfs.conf", "# MODULES=dep\nMODULES=most\n")
    stamps = {marks.USERSPACE_START: 3_000_000}
    found = initrd_advice.findings(made(INITRD, root=tmp_path, stamps=stamps))
    assert [(fact.name, fact.duration_us) for fact in found.facts] == [
        ("initrd-unpack", 521_421),
        ("initrd-run", 1_100_000),
    ]
    assert "38.4 MiB" in found.facts[0].text
    advice = only(found.advice)
    assert (advice.gain_us, advice.basis) == (1_621_421, Basis.AT_MOST)
    assert "initramfs-tools" in advice.do
    # By its name only: a device that comes later is not in it.
    assert advice.applicable and advice.lean_initrd and advice.careful


def test_a_lean_initrd(tmp_path: Path) -> None:
    put(tmp_path / "etc/initramfs-tools/initramfs.conf", "MODULES=most\n")
    put(tmp_path / "etc/initramfs-tools/conf.d/lean", 'MODULES="dep"\n')
    assert initrd_advice.findings(made(INITRD, root=tmp_path)).advice == []


@pytest.mark.parametrize("file", ["usr/bin/dracut", "etc/mkinitcpio.conf"])
def test_other_tools(file: str, tmp_path: Path) -> None:
    put(tmp_path / file)
    advice = only(initrd_advice.findings(made(INITRD, root=tmp_path)).advice)
    assert Path(file).stem in advice.do


def test_where_nobody_knows_the_tool_nothing_is_advised(tmp_path: Path) -> None:
    assert initrd_advice.findings(made(INITRD, root=tmp_path)).advice == []


def test_an_initrd_that_is_unpacked_first() -> None:
    advice = only(initrd_advice.findings(made(INITRD, "initramfs_async=0")).advice)
    assert (advice.gain_us, advice.remove) == (521_421, ["initramfs_async"])


# --- robust ---


@given(st.lists(st.text(max_size=80), max_size=30), st.text(max_size=60))
def test_any_log_is_a_report(texts: list[str], line: str) -> None:
    log = "\n".join(f"6,{n},{n * 7919},-;{text}" for n, text in enumerate(texts))
    found = report(made(log, line))
    assert all(advice.gain_us >= 0 for advice in found.advice)


@given(st.data())
def test_a_real_log_with_holes_is_a_report(data: st.DataObject) -> None:
    evidence = real("trixie-6.12")
    kept = data.draw(st.sets(st.integers(0, len(evidence.log.records) - 1), max_size=40))
    lines = [f"6,{n},{evidence.log.records[n].moment_us},-;x" for n in sorted(kept)]
    lines += [f"6,{n},5,-;{evidence.log.records[n].text}" for n in sorted(kept)]
    found = report(made("\n".join(lines), " ".join(evidence.words)))
    assert all((a.gain_us == 0) == (a.basis is Basis.UNKNOWN) for a in found.advice)


def test_nothing_at_all() -> None:
    found = report(made(build=None))
    assert (found.facts, found.advice) == ([], [])
