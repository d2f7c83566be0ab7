"""The spool, and servers that fork: what this machine has to say."""

from __future__ import annotations

import configparser
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from mixpanel_export import Settings, SpoolError
from mixpanel_export._directory import Directory
from mixpanel_export.cli.check._finding import Finding

# Where uWSGI's settings usually are, and how they say yes.
_UWSGI: Final = "uwsgi.ini"
_YES: Final = frozenset({"true", "1", "yes", "on", ""})


def look_at_spool(settings: Settings) -> Iterator[Finding]:
    """Make a directory in the spool as a process does, lock it, and take it away again."""
    if settings.spool is None:
        text = "there is none: what waits is lost if the process is killed"
        yield Finding("spool", "note", text, "MIXPANEL_SPOOL=DIR keeps it on a local disk")
        return
    spool = Path(settings.spool)
    before = spool.exists()
    try:
        Directory.make(str(spool.resolve() / "check"), {}).remove()
        free = shutil.disk_usage(spool).free
    except (OSError, SpoolError) as error:
        fix = "make it a directory on a local disk that this user may write to"
        text = f"{spool} cannot be used, and memory takes its place: {error}"
        yield Finding("spool", "problem", text, fix)
        return
    finally:
        with suppress(OSError):
            (spool / "check").rmdir()
            if not before:
                spool.rmdir()
    if free < settings.spool_max_bytes:
        text = f"{free:,} bytes are free, fewer than spool_max_bytes={settings.spool_max_bytes:,}"
        yield Finding("spool", "warning", text, "make room, or lower spool_max_bytes")
    else:
        yield Finding("spool", "ok", f"{spool} can be written to and locked")


def look_at_uwsgi(directory: Path) -> Iterator[Finding]:
    """Look into ``uwsgi.ini`` in *directory*, if there is one, for what keeps threads away."""
    path = directory / _UWSGI
    if not path.is_file():
        return
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError) as error:
        yield Finding(
            "uWSGI", "note", f"{path.name} cannot be read: {' '.join(str(error).split())}"
        )
        return
    section = dict(parser["uwsgi"]) if parser.has_section("uwsgi") else {}
    on = {
        name.replace("_", "-") for name, value in section.items() if (value or "").lower() in _YES
    }
    if not on & {"enable-threads", "threads"} and "threads" not in section:
        text = f"{path.name} sets no enable-threads: before 2.0.31 nearly everything waits for the"
        yield Finding("uWSGI", "warning", f"{text} end of the process", "set enable-threads = true")
    if not on & {"lazy-apps", "lazy", "py-call-uwsgi-fork-hooks"}:
        text = f"{path.name} forks without telling Python: what is logged before the workers are"
        yield Finding(
            "uWSGI",
            "warning",
            f"{text} there waits for the first of them that logs",
            "set lazy-apps = true, or py-call-uwsgi-fork-hooks = true",
        )
    if {"enable-threads", "lazy-apps"} <= on:
        yield Finding("uWSGI", "ok", f"{path.name} has enable-threads and lazy-apps")
