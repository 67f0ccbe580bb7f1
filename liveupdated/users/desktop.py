# SPDX-License-Identifier: LGPL-2.1-or-later
"""Desktop applications: which of a user's units are one, and how it is started.

The units' names are systemd's convention (its docs/DESKTOP_ENVIRONMENTS.md), the files are those of
the XDG Desktop Entry Specification.  Read by a process of the user's only.  Standard library only.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

KINDS = (".scope", ".service")
SUFFIX = ".desktop"
_SCOPE = re.compile(r"app-(?:[^-]+-)?([^-]+)-[^-]+\.scope")
_SERVICE = re.compile(r"app-(?:[^-]+-)?([^-@]+)(?:@[^-]*)?\.service")
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
_LONGEST_ID = 200
# Values of string keys: \s is a space and so on; in Exec, quoting comes on top of that.
_STRING_ESCAPES = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
_EXEC_WORD = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s"])+', re.DOTALL)
_EXEC_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_FIELD_CODE = re.compile(r"%(.)")


# --- units ---


def application(unit: str) -> str:
    """The application's id that a unit's name holds; empty for a unit that is no application."""
    match = _SCOPE.fullmatch(unit) or _SERVICE.fullmatch(unit)
    return unescape(match[1]) if match else ""


def unescape(name: str) -> str:
    r"""systemd-escape(1), undone for names: `\x2d` is a dash."""
    raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), name.encode())
    return raw.decode(errors="replace")


def escape(name: str) -> str:
    """The same done."""
    return "".join(
        char if re.fullmatch(r"[A-Za-z0-9:_.]", char) else _escaped_char(char) for char in name
    )


def _escaped_char(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode())


def is_id(app: str) -> bool:
    """Whether it can be the name of a file."""
    return bool(app) and app.isprintable() and "/" not in app and len(app.encode()) <= _LONGEST_ID


# --- files ---


def data_folders(environment: Mapping[str, str]) -> list[Path]:
    """Where applications are, the user's own first (XDG Base Directory Specification)."""
    home = environment.get("XDG_DATA_HOME") or f"{environment.get('HOME', '')}/.local/share"
    others = environment.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    return [Path(folder) for folder in [home, *others.split(":")] if folder.startswith("/")]


def autostarted(environment: Mapping[str, str]) -> Callable[[str], bool]:
    """Whether the desktop starts the application of that id at every login (XDG Autostart)."""
    home = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '')}/.config"
    others = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    folders = [Path(each, "autostart") for each in [home, *others.split(":")] if each[:1] == "/"]
    return lambda app: any((folder / f"{app}{SUFFIX}").is_file() for folder in folders)


def find(app: str, folders: Iterable[Path]) -> Path | None:
    """The file of an application that can be started again by it; None when there is none."""
    for folder in folders if is_id(app) else ():
        for file in _places(folder / "applications", app):
            if file.is_file():
                return file if command(file) else None
    return None


def _places(folder: Path, app: str) -> Iterable[Path]:
    """A dash of the id may stand for a folder."""
    yield folder / f"{app}{SUFFIX}"
    head, dash, tail = app.partition("-")
    if dash and head.strip(".") and tail:
        yield from _places(folder / head, tail)


def command(file: Path) -> list[str]:
    """Program and arguments, without a document; empty for what cannot be started that way."""
    entry = _entry(file)
    if entry.get("Hidden") == "true" or entry.get("Terminal") == "true":
        return []
    words = [_unquote(word) for word in _EXEC_WORD.findall(_unescape_string(entry.get("Exec", "")))]
    return [each for word in words for each in _expand(word, entry, file)]


def working_folder(file: Path) -> str:
    """Where the application is to be started; empty for anywhere."""
    return _unescape_string(_entry(file).get("Path", ""))


def _entry(file: Path) -> dict[str, str]:
    """The group `[Desktop Entry]`, without translations."""
    entry: dict[str, str] = {}
    group = ""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        if line.startswith("["):
            group = line.strip()
        elif group == "[Desktop Entry]" and not line.startswith("#"):
            key, equals, value = line.partition("=")
            if equals:
                entry.setdefault(key.strip(), value.strip())
    return entry


def _unescape_string(value: str) -> str:
    return re.sub(
        r"\\(.)", lambda match: _STRING_ESCAPES.get(match[1], match[0]), value, flags=re.DOTALL
    )


def _unquote(word: str) -> str:
    return _EXEC_QUOTED.sub(lambda match: re.sub(r"\\(.)", r"\1", match[1]), word)


def _expand(word: str, entry: Mapping[str, str], file: Path) -> list[str]:
    """The field codes of the Exec key: there is no document to open."""
    if word == "%i":
        return ["--icon", entry["Icon"]] if entry.get("Icon") else []
    if re.fullmatch(r"%[fFuUdDnNvm]", word):
        return []
    codes = {"%": "%", "c": entry.get("Name", ""), "k": str(file)}
    return [_FIELD_CODE.sub(lambda match: codes.get(match[1], ""), word)]
