"""
Where an address is, without a database of addresses.

Mixpanel looks addresses up at MaxMind (docs,
``docs/data-structure/property-reference/default-properties.mdx``). Here only those are anywhere
that are reserved for documentation (RFC 5737, RFC 3849), which no user of an application has: their
places are made up, so that a test can see that an address is used. Every other one is nowhere.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from mixpanel_export.emulator._event import JsonObject


class Place(NamedTuple):
    """A place on Earth, in the words in which Mixpanel stores it."""

    city: str
    region: str
    country: str
    timezone: str

    def of_event(self) -> JsonObject:
        """Return the properties that an event gains."""
        return {"$city": self.city, "$region": self.region, "mp_country_code": self.country}

    def of_profile(self) -> JsonObject:
        """Return the properties that a user's profile gains."""
        return {
            "$city": self.city,
            "$region": self.region,
            "$country_code": self.country,
            "$timezone": self.timezone,
        }


_PLACES = {
    ip_network("192.0.2.0/24"): Place("San Francisco", "California", "US", "America/Los_Angeles"),
    ip_network("198.51.100.0/24"): Place("London", "England", "GB", "Europe/London"),
    ip_network("203.0.113.0/24"): Place("Sydney", "New South Wales", "AU", "Australia/Sydney"),
    ip_network("2001:db8::/32"): Place("Tokyo", "Tokyo", "JP", "Asia/Tokyo"),
}


def place_of(address: object) -> Place | None:
    """Return where an address is; None if it is nowhere, or no address, such as ``"0"``."""
    return _look_up(address) if isinstance(address, str) else None


@lru_cache(maxsize=4096)
def _look_up(text: str) -> Place | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return next((place for network, place in _PLACES.items() if address in network), None)
