"""
Mixpanel on this machine: its ingestion API, emulated, with a live page.

::

    mixpanel-export emulator                    from a shell
    with EmulatorProcess() as emulator: ...     from Python, in a process of its own

It imports nothing from the rest of this library and keeps its own table of Mixpanel's limits
(`_facts`): a mirror must not be made by the face that it shows. Importing this package does not
import the web server.

::

    _facts          numbers, forbidden values, texts; each with its source
    _event _body    bytes -> records -> events
    _rules          what makes an event invalid, one row a rule
    _profiles       what the operations on profiles do
    _credentials _rate _answers
    _store _tally _pulse      what is kept and counted
    _project        a request in, an answer out
    _faults         misbehaviour on demand
    _gate _app _live _serve   HTTP, the page, the process
    _command _process         two ways to start it
"""

from __future__ import annotations

from mixpanel_export.emulator._options import EmulatorOptions
from mixpanel_export.emulator._process import EmulatorProcess

__all__ = ["EmulatorOptions", "EmulatorProcess"]
