# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where Debian packages come from: the mirror that this host's own apt uses.

Sources are read as sources.list(5) describes them, in both formats.
"""

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

_ONE_LINE = re.compile(r"^deb\s+(?:\[[^]]*\]\s*)?(\S+)\s+(\S+)\s+(.*)$")
_NAMES = {"stable", "testing", "unstable", "sid"}


@dataclass(frozen=True)
class Source:
    """One URI with its suites and components."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


def parse_one_line(text: str) -> Iterator[Source]:
    """The sources in a `sources.list` file."""
    for line in text.splitlines():
        if match := _ONE_LINE.match(line.split("#")[0].strip()):
            uri, suite, components = match.groups()
            yield Source(uri, (suite,), tuple(components.split()))


def parse_deb822(text: str) -> Iterator[Source]:
    """The sources in a `*.sources` file, without those that are switched off."""
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[name] += " " + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        for uri in fields.get("uris", "").split():
            yield Source(
                uri,
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
            )


def host_sources(etc: Path = Path("/etc/apt")) -> list[Source]:
    """All package sources of this host."""
    found: list[Source] = []
    if (etc / "sources.list").exists():
        found += parse_one_line((etc / "sources.list").read_text())
    for path in sorted((etc / "sources.list.d").glob("*")):
        if path.suffix == ".list":
            found += parse_one_line(path.read_text())
        elif path.suffix == ".sources":
            found += parse_deb822(path.read_text())
    return found


def _resolve(uri: str) -> str:
    """The first mirror of a `mirror+file:` list (Debian's cloud images have those), or `uri`."""
    if not uri.startswith("mirror+file:"):
        return uri
    lines = Path(uri.removeprefix("mirror+file:")).read_text().splitlines()
    return next(line.split()[0] for line in lines if line.strip() and line[0] != "#")


def debian_mirror(etc: Path = Path("/etc/apt")) -> str:
    """The URI of a Debian archive that also holds the suites beside the host's own.

    Raises LabError when the host's sources name none.
    """
    names = _NAMES | {platform.freedesktop_os_release().get("VERSION_CODENAME", "sid")}
    for source in host_sources(etc):
        if source.uri.startswith("cdrom:") or "main" not in source.components:
            continue
        if names & set(source.suites):
            return _resolve(source.uri)
    raise LabError("the host's apt sources name no Debian mirror; the lab needs a Debian host")


def proxy() -> str | None:
    """The HTTP proxy that the host's apt uses; mmdebstrap does not read the host's settings."""
    shown = subprocess.run(
        ["apt-config", "shell", "PROXY", "Acquire::http::Proxy"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    match = re.match(r"PROXY='(.*)'", shown)
    return match.group(1) if match else os.environ.get("http_proxy")
