# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel log of this boot: from the kernel itself or, where that is closed or overwritten, from
the journal.

Its stamps count from the start of the kernel.
"""

import errno
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

# "6,339,5140900,-;text" of /dev/kmsg (Documentation/ABI/testing/dev-kmsg), or "[    5.140900] text"
# of dmesg, where CONFIG_PRINTK_CALLER adds "[    T1]" and `dmesg --raw` begins with "<6>".
_RECORD = re.compile(
    r"(?:(?P<prefix>\d+),(?P<number>\d+),(?P<us>\d+),[^;]*;"
    r"|(?:<(?P<raw>\d+)>)?\[ *(?P<s>\d+)\.(?P<f>\d{6})\] ?(?:\[ *[TC]\d+\] ?)?)"
    r"(?P<text>.*)"
)
_LEVELS = 8  # the prefix is facility * 8 + level (syslog(2))
INFO = 6
_KMSG_RECORD = 8192  # no record is longer: the kernel's PRINTK_MESSAGE_MAX is 2048
_JOURNAL_TIMEOUT_S = 30


@dataclass(frozen=True)
class Record:
    """One message."""

    moment_us: int
    text: str
    level: int = INFO
    """As syslog(2) has it; where it was not kept, that of most messages."""
    number: int = -1
    """Its place in the kernel's buffer; -1 when not known."""

    def __str__(self) -> str:
        """As dmesg shows it."""
        return f"[{self.moment_us / 1e6:12.6f}] {self.text}"


@dataclass(frozen=True)
class KernelLog:
    """What could be read of it."""

    records: list[Record]
    source: str
    """`/dev/kmsg` or `journal`; empty when neither would say anything."""
    problem: str = ""
    """Why it is not there, or not whole."""


def parse(text: str) -> list[Record]:
    """The records in lines of /dev/kmsg or dmesg; other lines are left out."""
    return list(_parsed(text))


def _parsed(text: str) -> Iterator[Record]:
    for line in text.splitlines():
        found = _RECORD.match(line)
        if found is None:
            continue
        prefix = found["prefix"] or found["raw"]
        yield Record(
            moment_us=int(found["us"] or found["s"] + found["f"]),
            text=found["text"],
            level=int(prefix) % _LEVELS if prefix else INFO,
            number=int(found["number"] or -1),
        )


def parse_journal(lines: str) -> list[Record]:
    """The records in what ``journalctl -k -o json`` prints; see systemd.journal-fields(7)."""
    return list(_parsed_journal(lines))


def _parsed_journal(lines: str) -> Iterator[Record]:
    for line in lines.splitlines():
        try:
            entry = json.loads(line)
            text = entry["MESSAGE"]
            moment = int(entry["_SOURCE_MONOTONIC_TIMESTAMP"])
            level = int(entry.get("PRIORITY", INFO))
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(text, list):  # not UTF-8: an array of bytes
            text = bytes(text).decode(errors="replace")
        # What userspace wrote to /dev/kmsg comes along, under its own name.
        if isinstance(text, str) and entry.get("SYSLOG_IDENTIFIER", "kernel") == "kernel":
            yield Record(moment, text, level)


def read() -> KernelLog:
    """The log of the running boot, as far as we may and it is still there."""
    text, closed = _kmsg_or_why()
    records = parse(text)
    if records and records[0].number == 0:
        return KernelLog(records, "/dev/kmsg")
    kept = _journal()
    # The journal has read it from its beginning, unless journald began too late.
    if kept and (not records or kept[0].moment_us <= records[0].moment_us):
        return KernelLog(kept, "journal")
    if records:
        return KernelLog(records, "/dev/kmsg", "its beginning is overwritten")
    why = f"/dev/kmsg: {closed}" if closed else "/dev/kmsg is empty"
    return KernelLog([], "", f"{why}; and the journal shows us none of it")


def kmsg() -> str:
    """The kernel log as far as it is still in its buffer; "" where we may not read it."""
    return _kmsg_or_why()[0]


def _kmsg_or_why() -> tuple[str, str]:
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return "", error.strerror or str(error)
    records = []
    try:
        while True:
            try:
                records.append(os.read(fd, _KMSG_RECORD))
            except BlockingIOError:
                break  # the end, as of now
            except OSError as error:
                if error.errno != errno.EPIPE:  # EPIPE: overwritten meanwhile, the next is fine
                    break
    finally:
        os.close(fd)
    return b"".join(records).decode(errors="replace"), ""


def _journal() -> list[Record]:
    fields = "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_SOURCE_MONOTONIC_TIMESTAMP"
    command = ["journalctl", "-k", "-b", "-q", "-o", "json", "--no-pager"]
    try:
        done = subprocess.run(
            [*command, f"--output-fields={fields}"],
            capture_output=True,
            timeout=_JOURNAL_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_journal(done.stdout.decode(errors="replace"))
