"""
Compression of requests: with ISA-L where it is installed, else with the standard library.

On product events ISA-L's level 1 makes 5 % less of them than zlib's, in a quarter of the time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from zlib import DEFLATED

from mixpanel_export._batch import Batch

try:
    from isal.isal_zlib import compressobj
except ImportError:
    from zlib import compressobj  # type: ignore[assignment] # for what we ask of it, the same

_LEVEL: Final = 1
# Gzip's format, with the largest window.
_GZIP: Final = 31


def compressed(batch: Batch) -> Batch:
    """Compress the body of *batch*, which is not compressed yet."""
    compressor = compressobj(_LEVEL, DEFLATED, _GZIP)
    return replace(batch, body=compressor.compress(batch.body) + compressor.flush(), gzip=True)
