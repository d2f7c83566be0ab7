"""
A service without a framework: logs, and is told to end.
"""

import os
import signal
import sys
import time

from shop import emit, ends  # type: ignore[import-not-found]  # It lies beside this file.

from mixpanel_export import drain_on_sigterm

if sys.argv[1] == "drain":
    drain_on_sigterm()
emit(1_000, "service")
ends()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)  # Until the signal ends it.
