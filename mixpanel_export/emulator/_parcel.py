"""A request as it came over the wire, and what is in it once it is unpacked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._body import (
    FORM,
    JSON_LINES,
    MalformedError,
    OversizedError,
    inflate,
    inflate_some,
    parse,
    parse_data,
    parse_form,
    parse_lines,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """
    A request as it came over the wire.

    Args:
        path: The endpoint.

        query: Parameters of the URL.

        body: Its bytes, still compressed; None if there were more than the limit. For GET, empty.

        content_type: In lower case, without parameters.

        gzip: Whether the body claims to be compressed.

        authorization: The header, if there is one.

        client: The sender's address.
    """

    path: str
    query: Mapping[str, str]
    body: bytes | None
    content_type: str = ""
    gzip: bool = False
    authorization: str | None = None
    client: str = ""

    @property
    def is_form(self) -> bool:
        """
        Whether the records are in a field called ``data``, of the form or of the URL.

        Sourced: mixpanel/mixpanel-js, src/mixpanel-core.js: ``sendBeacon`` is given the form as a
        text, which browsers send as one.
        """
        if self.content_type == "text/plain" and (self.body or b"").startswith(b"data="):
            return True
        return self.content_type == FORM or (not self.body and "data" in self.query)


@dataclass(frozen=True, slots=True)
class Parcel:
    """
    What a readable request says.

    Args:
        content: The records; normally a list, and whatever else JSON may hold.

        query: Parameters of the URL and of the form.

        size: Uncompressed bytes of the body.
    """

    content: object
    query: Mapping[str, str]
    size: int

    @property
    def records(self) -> list[object]:
        """The records, where a lone one stands for a list of one."""
        return self.content if isinstance(self.content, list) else [self.content]


def parameters(arrival: Arrival, *, limit: int) -> Mapping[str, str]:
    """Return the parameters of a request whose records cannot be used, as far as they go."""
    try:
        if arrival.is_form and arrival.body:
            body = inflate(arrival.body, limit=limit) if arrival.gzip else arrival.body
            return {**arrival.query, **parse_form(body)}
    except (MalformedError, OversizedError):
        # Its form is what cannot be used; then the URL has to do.
        return arrival.query
    return arrival.query


def beginning(arrival: Arrival, *, length: int) -> bytes | None:
    """Return the first bytes of a body, uncompressed if it can be; None if it was not kept."""
    if arrival.gzip and arrival.body:
        return inflate_some(arrival.body, length=length)
    return arrival.body and arrival.body[:length]


def unpack(arrival: Arrival, *, limit: int) -> Parcel:
    """
    Decompress and parse a request.

    Raises:
        OversizedError: If its body is larger than *limit* bytes, uncompressed.

        MalformedError: If it cannot be read.
    """
    body = arrival.body
    if body is None:
        raise OversizedError
    if arrival.gzip:
        body = inflate(body, limit=limit)
    elif len(body) > limit:
        raise OversizedError
    if arrival.is_form:
        query = {**arrival.query, **parse_form(body)}
        if "data" not in query:
            raise MalformedError(_facts.BAD_DATA)
        return Parcel(parse_data(query["data"]), query, len(body))
    read = parse_lines if arrival.content_type == JSON_LINES else parse
    return Parcel(read(body), arrival.query, len(body))
