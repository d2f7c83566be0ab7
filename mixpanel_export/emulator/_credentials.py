"""Who may import: the three kinds of credentials and the ways in which they fail."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._options import EmulatorOptions


class Gatekeeper:
    """
    Checks the ``Authorization`` header of /import.

    A user without a password is a project token or a project secret, one with a password is a
    service account. Nothing configured: everything of the right form passes. Tokens alone
    configured: service accounts are unknown. No tokens configured: every token is known, unless a
    secret is.

    Args:
        options: The credentials that are known.

        clock: Seconds since the epoch.
    """

    def __init__(self, options: EmulatorOptions, clock: Callable[[], float]) -> None:
        self._tokens = frozenset(options.tokens)
        self._user, _, self._secret = (options.service_account or "").partition(":")
        self._project = options.project_id
        self._api_secret = options.api_secret
        self._clock = clock

    def refusal(self, authorization: str | None, project_id: str | None) -> str | None:
        """
        Return why a request may not import, or None if it may.

        Args:
            authorization: The header's value.

            project_id: The parameter of the URL.
        """
        user, password = read_basic(authorization)
        if not user:
            return _facts.INVALID_CREDENTIALS
        if password:
            return self._refuse_account(user, password, project_id)
        return self._refuse_token(user) or self._refuse_other_project(project_id)

    def refusal_to_export(self, authorization: str | None, project_id: str | None) -> str | None:
        """
        Return why a request may not export, or None if it may.

        Sourced: docs, openapi/export.openapi.yaml: a service account or a project secret; a token
        is for sending only. Nothing configured: everything of the right form passes.
        """
        user, password = read_basic(authorization)
        if not user:
            return _facts.INVALID_CREDENTIALS
        if password:
            return self._refuse_account(user, password, project_id)
        if user != self._api_secret and (self._user or self._tokens or self._api_secret):
            return _facts.INVALID_SECRET
        return self._refuse_secret() or self._refuse_other_project(project_id)

    def knows_token(self, token: object) -> bool:
        """Say whether data sent to /track, /engage or /groups with *token* reach a project."""
        return not self._tokens or token in self._tokens

    def _refuse_account(self, user: str, password: str, project_id: str | None) -> str | None:
        if self._user or self._tokens or self._api_secret:
            if user != self._user:
                return _facts.UNKNOWN_SERVICE_ACCOUNT
            if password != self._secret:
                return _facts.INVALID_SERVICE_ACCOUNT
        if not project_id:
            return _facts.PROJECT_ID_MISSING
        if self._project and project_id != self._project:
            return _facts.NOT_A_MEMBER
        return None

    def _refuse_token(self, user: str) -> str | None:
        if user == self._api_secret:
            return self._refuse_secret()
        if user in self._tokens:
            return None
        if self._tokens:
            return _facts.INVALID_CREDENTIALS
        return _facts.INVALID_SECRET if self._api_secret else None

    def _refuse_secret(self) -> str | None:
        over = self._api_secret and self._clock() >= _facts.SECRET_ENDS
        return _facts.INVALID_SECRET if over else None

    def _refuse_other_project(self, project_id: str | None) -> str | None:
        if project_id and self._project and project_id != self._project:
            return _facts.WRONG_PROJECT
        return None


def read_basic(authorization: str | None) -> tuple[str, str]:
    """
    Split a Basic header into user and password, both empty if it is not one.

    Sourced: docs, reference/service-accounts.mdx: what follows ``Basic`` may be base64 or the
    plain text itself.
    """
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    value = value.strip()
    if ":" not in value:
        value = _from_base64(value)
    user, _, password = value.partition(":")
    return user, password


def _from_base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
