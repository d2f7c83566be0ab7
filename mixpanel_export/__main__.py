"""The command line: ``python -m mixpanel_export`` is the same as ``mixpanel-export``."""

from __future__ import annotations

from mixpanel_export.cli import main

if __name__ == "__main__":
    main()
