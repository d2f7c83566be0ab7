"""
A WSGI application that logs when it is imported and in each request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shop import emit  # type: ignore[import-not-found]  # It lies beside this file.

emit(100, "import")


def application(
    _environ: dict[str, object],
    start_response: Callable[[str, list[tuple[str, str]]], object],
) -> Iterable[bytes]:
    """
    Answer anything.
    """
    emit(5, "request")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
