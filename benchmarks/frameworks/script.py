"""
A script: logs so many events, and ends.
"""

import sys

from shop import emit, ends  # type: ignore[import-not-found]  # It lies beside this file.

emit(int(sys.argv[1]), "script")
ends()
