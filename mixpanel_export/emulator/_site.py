"""The files of the page, and the headers that keep everything else out of it."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import Response

_FOLDER = Path(__file__).parent / "_page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# Only what comes from here is loaded or run, and nobody may frame it.
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Site:
    """The page's files, read once; so no path can lead to anything else on the disk."""

    def __init__(self) -> None:
        self._files = {
            path.relative_to(_FOLDER).as_posix(): (path.read_bytes(), _TYPES[path.suffix])
            for path in _FOLDER.rglob("*")
            if path.suffix in _TYPES
        }

    def file(self, name: str) -> Response | None:
        """Return a file by its name in the folder, or None if there is none."""
        if name not in self._files:
            return None
        content, kind = self._files[name]
        return Response(content, headers={"content-type": kind, **SECURITY})
