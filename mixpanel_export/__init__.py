"""
Send product events to Mixpanel from logs and traces.

::

    record -> event -> line -> queue -> batch -> request -> outcome
    └──────── caller's thread ───────┘ └──── background ───────────┘

A *record* is what the application said: a log record. A translation makes it an *event*, or
nothing. The event is sealed once, to one *line* of JSON, and from then on everything carries those
same bytes. Lines wait in a bounded *queue*, become *batches*, travel in *requests*; what came of
each is an *outcome*, and the ledger (`Pipeline.stats`) accounts for every event.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mixpanel_export._context import bind, bound, clear, unbind
    from mixpanel_export._event import Event
    from mixpanel_export._exceptions import (
        MixpanelExportError,
        SettingsError,
        SpoolError,
        TransportError,
    )
    from mixpanel_export._handler import MixpanelHandler
    from mixpanel_export._ledger import Health, Stats
    from mixpanel_export._lifecycle import drain_on_sigterm
    from mixpanel_export._pipeline import Pipeline
    from mixpanel_export._processor import MixpanelProcessor
    from mixpanel_export._record import Record
    from mixpanel_export._settings import Settings
    from mixpanel_export._update import (
        GroupUpdate,
        ProfileUpdate,
        alias_event,
        identify_event,
        merge_event,
    )

__version__ = "0.1.0"

__all__ = [
    "Event",
    "GroupUpdate",
    "Health",
    "MixpanelExportError",
    "MixpanelHandler",
    "MixpanelProcessor",
    "Pipeline",
    "ProfileUpdate",
    "Record",
    "Settings",
    "SettingsError",
    "SpoolError",
    "Stats",
    "TransportError",
    "alias_event",
    "bind",
    "bound",
    "clear",
    "drain_on_sigterm",
    "identify_event",
    "merge_event",
    "unbind",
]

# Imported when it is asked for: whoever only binds pays for no pipeline.
_WHERE: Final = {
    "Event": "_event",
    "GroupUpdate": "_update",
    "Health": "_ledger",
    "MixpanelExportError": "_exceptions",
    "MixpanelHandler": "_handler",
    "MixpanelProcessor": "_processor",
    "Pipeline": "_pipeline",
    "ProfileUpdate": "_update",
    "Record": "_record",
    "Settings": "_settings",
    "SettingsError": "_exceptions",
    "SpoolError": "_exceptions",
    "Stats": "_ledger",
    "TransportError": "_exceptions",
    "alias_event": "_update",
    "bind": "_context",
    "bound": "_context",
    "clear": "_context",
    "drain_on_sigterm": "_lifecycle",
    "identify_event": "_update",
    "merge_event": "_update",
    "unbind": "_context",
}

if not TYPE_CHECKING:  # A checker would take any name for one of these.

    def __getattr__(name: str) -> object:
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
