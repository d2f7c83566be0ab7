"""
The command ``mixpanel-export``.

::

    _command        the group; a subcommand is loaded when it is asked for
    _demo           demo: shop and emulator, ledger against store
    _shop           the simulated shop: an application that says what happens
    _doors          the four ways in which it says so
    _ledger         whether both sides of the demo agree
    _screen         what the demo shows
    _run            run: a command, and an emulator for it
    _child          a command as if it had been started in our place
    _arrived        what arrived at its emulator
    _tail           tail: events of a running emulator, line by line
    _terminal       texts from elsewhere, made safe for a terminal
    _extras         what commands need that is not always there
    _import         import: history, see the package backfill
    _spool          spool: what waits on disk, seen and moved by hand
    _survey         what lies there
    _tables         what the spool's commands show
    _check, check   check: why nothing arrives
    _explain, explain  explain: what becomes of one record, and why
    _flags          settings as flags
    _plainly        errors as sentences, tracebacks for those who ask
    _stop           Ctrl-C as a question instead of an exception

Its friends are extras; without them it says how to get them.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

#: The exit status of a process that Ctrl-C ended, as shells count it.
INTERRUPTED = 130


def main() -> None:
    """Run the command line with the arguments of this process; it ends the process."""
    try:
        try:
            from mixpanel_export.cli._command import command
        except ModuleNotFoundError as error:
            if error.name != "click":
                raise
            sys.exit("click is missing; the command line needs pip install 'mixpanel-export[cli]'")
        command(prog_name="mixpanel-export")
    except KeyboardInterrupt:
        # Before a command had begun, or while it was loaded.
        sys.exit(INTERRUPTED)
