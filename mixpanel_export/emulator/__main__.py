"""Run the emulator: ``python -m mixpanel_export.emulator``."""

from __future__ import annotations

import sys

try:
    from mixpanel_export.emulator._command import emulator
except ModuleNotFoundError as error:
    sys.exit(f"{error.name} is missing; the emulator needs pip install 'mixpanel-export[emulator]'")

emulator(prog_name="mixpanel-export emulator")
