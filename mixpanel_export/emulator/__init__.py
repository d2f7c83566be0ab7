"""
Mixpanel on this machine: its ingestion API, emulated, with a live page.

::

    mixpanel-export emulator                    from a shell
    with EmulatorProcess() as emulator: ...     from Python, in a process of its own

It imports nothing from the rest of this library and keeps its own table of Mixpanel's limits
(`_facts`): a mirror must not be made by the face that it shows. Importing this package does not
import the web server.

::

    _facts                        numbers, forbidden values, texts; each with its source
    _rules  _profiles             what makes an event invalid; what operations on profiles do
    _event  _body  _parcel        bytes -> records -> events
    _credentials  _rate           who may send, and how much
    _answers                      the shapes of answers
    _users  _hotshard  _places    whose ids belong together; who has too many events; who is where
    _store  _tally  _pulse        what is kept and counted
    _reading  _catalogue          stored events as Mixpanel shows them; which names and users
    _books                        all that one project remembers
    _export                       what is kept, as Mixpanel gives it back
    _intake  _updates             events and profile updates, from a request to the books
    _project                      a request in, an answer out
    _faults                       misbehaviour on demand
    _view  _sources               what somebody looks at; where the reason of a failure was read
    _gate  _site  _live  _app     HTTP: the guard, the page, its stream, all endpoints
    _openapi                      what they are, for machines
    _serve  _command  _process    the process, and two ways to start it
"""

from __future__ import annotations

from mixpanel_export.emulator._options import EmulatorOptions
from mixpanel_export.emulator._process import EmulatorProcess

__all__ = ["EmulatorOptions", "EmulatorProcess"]
