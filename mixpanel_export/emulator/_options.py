"""What can be chosen when an emulator starts."""

from __future__ import annotations

from dataclasses import dataclass, field

from mixpanel_export.emulator import _facts

DEFAULT_PORT = 8787

# Enough to look back on an afternoon of development: about 25 MB of events of 500 bytes.
DEFAULT_MAX_STORED = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorOptions:
    """
    Settings of one emulator. Credentials do not appear in its repr.

    Args:
        host: Address to listen on. Off loopback, the page and its API ask for a key that is part
            of the printed address.

        port: None: 8787, or the next one that is free. 0: any.

        db: SQLite file that survives a restart. None: a temporary one, which nobody else sees.

        max_stored: How many of the newest events are kept. 0: all.

        tokens: Project tokens that are known. None given: every token is.

        service_account: ``USER:SECRET``. Needs *project_id*.

        project_id: The project that the credentials belong to.

        api_secret: Project secret, refused from 2027-03-03 on, as by Mixpanel.

        identity: ``simplified`` or ``original``: the project's way to merge identities.

        hot_shard_events: Events of one ``distinct_id`` on one day; more are stored as
            ``$hotshard_events``. 0: no limit.

        retention_days: /import?strict=1 refuses events older than this. 0: none is too old.

        old_track_events: ``success`` or ``failure``: what /track answers to an event older than 5
            days, which is not stored. Reports about the service disagree.

        max_events_per_minute: Events that one *rate_window* may hold before 429 is answered. 0: no
            limit.

        rate_window: What counts as a minute, in seconds; a shorter one makes quick tests.

        max_request_bytes: Largest uncompressed body.

        allow_hosts: Names beside the loopback ones that the ``Host`` header may carry.

        open_browser: Show the page in a browser once it is served.

    Raises:
        ValueError: If a value cannot work; it names the option, the value and the fix.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    db: str | None = None
    max_stored: int = DEFAULT_MAX_STORED
    tokens: tuple[str, ...] = field(default=(), repr=False)
    service_account: str | None = field(default=None, repr=False)
    project_id: str | None = None
    api_secret: str | None = field(default=None, repr=False)
    identity: str = "simplified"
    hot_shard_events: int = _facts.HOT_SHARD_EVENTS
    retention_days: int = 0
    old_track_events: str = "success"
    max_events_per_minute: int = 0
    rate_window: float = _facts.RATE_WINDOW
    max_request_bytes: int = _facts.MAX_REQUEST_BYTES
    allow_hosts: tuple[str, ...] = ()
    open_browser: bool = False

    def __post_init__(self) -> None:
        for wrong, message in self._checks():
            if wrong:
                raise ValueError(message)

    def _checks(self) -> list[tuple[bool, str]]:
        account = self.service_account
        return [
            (
                self.port is not None and not 0 <= self.port <= 65535,
                f"port must be between 0 and 65535, not {self.port!r}",
            ),
            (self.max_stored < 0, f"max_stored must be 0 (all) or more, not {self.max_stored!r}"),
            ("" in self.tokens, "token must not be empty; leave it out to accept every token"),
            (
                account is not None and not all(account.partition(":")),
                "service_account must be USER:SECRET, with both parts",
            ),
            (
                account is not None and not self.project_id,
                "service_account needs project_id, the project that it belongs to",
            ),
            (
                self.identity not in ("simplified", "original"),
                f"identity must be 'simplified' or 'original', not {self.identity!r}",
            ),
            (
                self.hot_shard_events < 0,
                f"hot_shard_events must be 0 (no limit) or more, not {self.hot_shard_events!r}",
            ),
            (
                self.retention_days < 0,
                f"retention_days must be 0 (for ever) or more, not {self.retention_days!r}",
            ),
            (
                self.old_track_events not in ("success", "failure"),
                f"old_track_events must be 'success' or 'failure', not {self.old_track_events!r}",
            ),
            (
                self.max_events_per_minute < 0,
                f"max_events_per_minute must be 0 or more, not {self.max_events_per_minute!r}",
            ),
            (
                not 0 < self.rate_window < float("inf"),
                f"rate_window must be a number of seconds above 0, not {self.rate_window!r}",
            ),
            (
                self.max_request_bytes < 1,
                f"max_request_bytes must be 1 or more, not {self.max_request_bytes!r}",
            ),
        ]
