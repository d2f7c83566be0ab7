"""Everything that one project remembers."""

from __future__ import annotations

from dataclasses import dataclass

from mixpanel_export.emulator._catalogue import Catalogue
from mixpanel_export.emulator._event import JsonObject
from mixpanel_export.emulator._pulse import Pulse
from mixpanel_export.emulator._reading import Reader
from mixpanel_export.emulator._store import Store
from mixpanel_export.emulator._tally import Tally


@dataclass(frozen=True, slots=True)
class Books:
    """
    What was sent, in four views.

    Args:
        store: Events and profiles.

        tally: Counts and failures.

        pulse: Events per second.

        reader: Reads what is stored.

        catalogue: Names, properties, users.
    """

    store: Store
    tally: Tally
    pulse: Pulse
    reader: Reader
    catalogue: Catalogue

    def stats(self) -> JsonObject:
        """Return the counts since the start or the last reset."""
        store, tally = self.store, self.tally
        return {
            "requests": dict(tally.requests),
            "imported": store.imported,
            "rejected": tally.rejected,
            "duplicates": store.duplicates,
            "distinct": store.distinct,
            "stored": store.stored,
            "vanished": tally.vanished,
            "profiles": store.count_profiles(groups=False),
            "groups": store.count_profiles(groups=True),
            "updates": tally.updates,
            "updates_rejected": tally.updates_rejected,
        }

    def reset(self) -> None:
        """Forget everything."""
        self.store.reset()
        self.tally.reset()
        self.pulse.reset()
        self.catalogue.reset()
