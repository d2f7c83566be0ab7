"""
Errors of this package, all of them about configuration or resources.

::

    MixpanelExportError
    ├── SettingsError    a setting is wrong: names the field, the value and the fix
    ├── TransportError   a request got no answer: refused, reset, timed out, no such host
    └── SpoolError       the spool directory cannot be used

What Mixpanel answers is never an exception: it is an *outcome* (`mixpanel_export.delivery`) and a
count. Doors never raise.
"""

from __future__ import annotations


class MixpanelExportError(Exception):
    """Base of every error that this package raises."""


class SettingsError(MixpanelExportError, ValueError):
    """A setting has a value that cannot work. Raised when `Settings` is constructed."""


class TransportError(MixpanelExportError):
    """
    A request got no complete answer.

    Args:
        reason: What happened, in a few words, without credentials.

        sent: False if it is certain that no byte of the request reached the server, so that even
            an operation that must not be applied twice may be tried again.

        stale: True if the connection had served an earlier request and was closed by the other
            side meanwhile; the usual fate of an idle keep-alive connection, worth one immediate
            retry on a fresh one.
    """

    def __init__(self, reason: str, *, sent: bool = True, stale: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.stale = stale


class SpoolError(MixpanelExportError):
    """A spool directory cannot be used."""
