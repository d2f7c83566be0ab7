"""The file of what Mixpanel rejected, for whoever wants to look: `rejected.jsonl` in the spool."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mixpanel_export._outcome import Rejection

#: The file's name in the directory of its project, and that of the older one beside it.
NAMES: Final = ("rejected.jsonl", "rejected.1.jsonl")

#: How large the file may grow, in bytes. Ours.
MAX_REJECTED_BYTES: Final = 4 * 1024 * 1024


def bury(directory: str, rejections: Iterable[Rejection]) -> None:
    """
    Append *rejections*, each a JSON object with the reason, the field and the line as it was sent.

    Args:
        directory: That of the project.

        rejections: What was rejected.

    Raises:
        OSError: If they cannot be written.
    """
    lines = [
        orjson.dumps({"message": each.message, "field": each.field})[:-1]
        + b',"line":'
        + each.line
        + b"}\n"
        for each in rejections
    ]
    path, older = (os.path.join(directory, name) for name in NAMES)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, b"".join(lines))
        size = os.fstat(file).st_size
    finally:
        os.close(file)
    if size > MAX_REJECTED_BYTES:
        os.replace(path, older)
