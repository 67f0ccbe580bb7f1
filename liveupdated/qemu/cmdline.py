# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU's command line: what it tells of the guest, and how it is said again after the jump."""

import os
import string
from collections.abc import Iterator, Sequence

INCOMING = ("-incoming", "defer")
"""Start without running; `migrate-incoming` tells later what to load (qemu(1))."""
_PLAIN = frozenset(
    (string.ascii_letters + string.digits + " !#&'()*+,-./:;<=>?@[]^_`{|}~").encode()
)
_YES = ("on", "yes", "true", "")


def of_process(pid: int) -> list[str]:
    """The arguments that the process was started with (proc_pid_cmdline(5))."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return [os.fsdecode(word) for word in file.read().removesuffix(b"\0").split(b"\0")]


def options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each option, without its dashes, with its value; empty for one that has none."""
    following = [*argv[2:], ""]
    for word, value in zip(argv[1:], following, strict=True):
        if word.startswith("-") and len(word) > 1:
            yield word.lstrip("-"), "" if value.startswith("-") else value


def parts(value: str) -> dict[str, str]:
    """`a,b=c,d` as {"": "a", "b": "c", "d": ""}; a comma in a value is doubled (qemu(1))."""
    found: dict[str, str] = {}
    for number, part in enumerate(value.replace(",,", "\0").split(",")):
        key, equals, text = part.replace("\0", ",").partition("=")
        if number == 0 and not equals:
            found[""] = key
        else:
            found[key] = text
    return found


def guest_name(argv: Sequence[str]) -> str:
    """The name that -name gives; empty when it gives none."""
    for option, value in options(argv):
        if option == "name":
            named = parts(value)
            return named.get("guest") or named.get("", "")
    return ""


def qmp_sockets(argv: Sequence[str]) -> list[str]:
    """The unix sockets on which QEMU listens for QMP clients, as they are written there."""
    chardevs: dict[str, str] = {}
    found: list[str] = []
    monitors: list[str] = []
    for option, value in options(argv):
        said = parts(value)
        head = said.get("", "")
        if option == "chardev" and head == "socket" and said.get("server", "off") in _YES:
            chardevs[said.get("id", "")] = said.get("path", "")
        elif option in ("qmp", "qmp-pretty") and head.startswith("unix:"):
            if said.get("server", "off") in _YES:
                found.append(head.removeprefix("unix:"))
        elif option in ("qmp", "qmp-pretty") and head.startswith("chardev:"):
            monitors.append(head.removeprefix("chardev:"))
        elif option == "mon" and said.get("mode") == "control":
            monitors.append(said.get("chardev") or head)
    return found + [chardevs[name] for name in monitors if chardevs.get(name)]


def links(argv: Sequence[str]) -> list[str]:
    """The host's network interfaces that -netdev and -nic name: bridges and taps."""
    found = []
    for option, value in options(argv):
        if option in ("netdev", "nic"):
            said = parts(value)
            found += [said[key] for key in ("br", "ifname") if said.get(key, "no") != "no"]
    return found


def named_devices(argv: Sequence[str]) -> set[str]:
    """The ids that the command line gives to devices."""
    return {name for _, value in options(argv) for name in _ids(value)}


def _ids(value: str) -> list[str]:
    """`id=` of the short form, or of the JSON that -device takes too."""
    if value.startswith("{"):
        return value.split('"')  # a superset is enough: it is asked whether an id is there
    return [text for key, text in parts(value).items() if key == "id"]


def again(argv: Sequence[str], machine: str) -> list[str]:
    """The same command line for a QEMU that waits for the saved state.

    `machine` is the versioned machine type that runs: what `q35` stands for changes with QEMU.
    """
    pinned = ("-machine", machine)
    kept: list[str] = []
    at = 0
    while at < len(argv):
        if argv[at] in ("-incoming", "--incoming") or tuple(argv[at : at + 2]) == pinned:
            at += 2
        else:
            kept.append(argv[at])
            at += 1
    return [*kept, *pinned, *INCOMING]


def exec_line(argv: Sequence[str]) -> str:
    """The words as ExecStart= wants them (systemd.service(5), COMMAND LINES), taken literally."""
    return ":" + " ".join(map(_quoted, argv))


def _quoted(word: str) -> str:
    text = "".join(
        chr(byte) if byte in _PLAIN else "%%" if byte == ord("%") else f"\\x{byte:02x}"
        for byte in os.fsencode(word)
    )
    return f'"{text}"'
