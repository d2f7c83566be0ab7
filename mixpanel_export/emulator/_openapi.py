"""
The emulator's HTTP surface in OpenAPI, for machines: clients that are generated, tests that fuzz.

It says what is answered, and not what Mixpanel documents: nearly everything may be sent.
"""

from __future__ import annotations

from collections.abc import Mapping

from mixpanel_export.emulator import _facts
from mixpanel_export.emulator._event import JsonObject
from mixpanel_export.emulator._faults import ACTIONS, ENDPOINTS

_JSON = "application/json"
_LINES = "application/x-ndjson"
_FORM = "application/x-www-form-urlencoded"
_TEXT = "text/plain"

_ANY_OBJECT: JsonObject = {"type": "object"}
_WHOLE: JsonObject = {"type": "integer", "minimum": 0}


def _object(*required: str, **properties: JsonObject) -> JsonObject:
    return {"type": "object", "required": list(required), "properties": properties}


def _reference(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: JsonObject, **bounds: object) -> JsonObject:
    return {"type": "array", "items": items, **bounds}


_EVENT = _object(
    "event",
    "properties",
    event={"type": "string", "minLength": 1},
    properties={
        "type": "object",
        "properties": {
            "token": {"type": "string"},
            "time": {"type": "number", "description": "Seconds or milliseconds since the epoch."},
            "distinct_id": {"type": "string"},
            "$insert_id": {"type": "string", "maxLength": _facts.MAX_INSERT_ID_BYTES},
            "$device_id": {"type": "string"},
            "$user_id": {"type": "string"},
            "ip": {"type": "string"},
        },
    },
)

_UPDATE: JsonObject = {
    "type": "object",
    "required": ["$token"],
    "properties": {
        "$token": {"type": "string"},
        "$distinct_id": {"type": "string"},
        "$group_key": {"type": "string"},
        "$group_id": {"type": "string"},
        "$ip": {"type": "string"},
        "$time": {"type": "number"},
        "$ignore_time": {"type": "boolean"},
        "$ignore_alias": {"type": "boolean"},
        "$set": _ANY_OBJECT,
        "$set_once": _ANY_OBJECT,
        "$add": {"type": "object", "additionalProperties": {"type": "number"}},
        "$append": _ANY_OBJECT,
        "$union": {"type": "object", "additionalProperties": {"type": "array"}},
        "$remove": _ANY_OBJECT,
        "$unset": _list({"type": "string"}),
        "$delete": {},
    },
}

_FAULT: JsonObject = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "path": {"enum": ["*", *ENDPOINTS]},
        "times": {"type": "integer", "minimum": 1},
        "every": {"type": "integer", "minimum": 1},
        "probability": {"type": "number", "minimum": 0, "maximum": 1},
        "seed": {"type": "integer"},
        "status": {"type": "integer", "minimum": 200, "maximum": 599},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
        "body": {},
        "delay": {"type": "number", "minimum": 0, "maximum": 86_400},
        "store": {"type": "boolean"},
        "action": {"enum": list(ACTIONS)},
    },
}

_SCHEMAS: JsonObject = {
    "Event": _EVENT,
    "Update": _UPDATE,
    "Fault": _FAULT,
    "Imported": _object("code", "status", code=_WHOLE, num_records_imported=_WHOLE, status={}),
    "Refused": _object(
        "code",
        "error",
        "status",
        code=_WHOLE,
        error={"type": "string"},
        status={"type": "string"},
        num_records_imported=_WHOLE,
        failed_records=_list({"type": ["object", "string"]}),
    ),
    "Verdict": {
        "oneOf": [
            {"enum": [0, 1]},
            _object("error", "status", error={"type": ["string", "null"]}, status={"enum": [0, 1]}),
        ]
    },
    "Stats": _object("requests", "imported", "distinct", requests=_ANY_OBJECT, imported=_WHOLE),
}


def _answer(description: str, **contents: object) -> JsonObject:
    content = {kind: {"schema": schema} for kind, schema in contents.items()}
    return {"description": description, **({"content": content} if content else {})}


def _json(description: str, schema: JsonObject) -> JsonObject:
    return _answer(description, **{_JSON: schema})


_STRANGER = _answer("The host, the origin or the key is wrong.", **{_TEXT: {"type": "string"}})
_GIFS: JsonObject = {"type": "string", "format": "binary"}


def _query(**schemas: JsonObject) -> list[JsonObject]:
    return [{"name": name, "in": "query", "schema": schema} for name, schema in schemas.items()]


_SWITCH: JsonObject = {"enum": ["0", "1"]}
_SHAPE = _query(verbose=_SWITCH, ip=_SWITCH, img=_SWITCH, callback={"type": "string"})


def _operation(
    summary: str,
    responses: Mapping[str, JsonObject],
    *,
    parameters: list[JsonObject] | None = None,
    body: JsonObject | None = None,
    secure: bool = False,
) -> JsonObject:
    operation: JsonObject = {
        "summary": summary,
        "responses": {"403": _STRANGER, **responses},
    }
    if parameters:
        operation["parameters"] = parameters
    if body:
        contents = {kind: {"schema": schema} for kind, schema in body.items()}
        operation["requestBody"] = {"required": True, "content": contents}
    if secure:
        operation["security"] = [{"basic": []}]
    return operation


def _records(name: str) -> JsonObject:
    many = _list(_reference(name), minItems=1, maxItems=_facts.MAX_RECORDS)
    form = _object("data", data={"type": "string", "description": "JSON, plain or in base64."})
    return {_JSON: {"oneOf": [many, _reference(name)]}, _FORM: form}


_REFUSED = _json("Nothing was imported.", _reference("Refused"))
_VERDICT = _answer(
    "1 or 0, JSON with verbose=1, an image with img=1, script with a callback.",
    **{
        _TEXT: {"enum": ["0", "1", 0, 1]},
        _JSON: _reference("Verdict"),
        "image/gif": _GIFS,
        "text/javascript": {"type": "string"},
    },
)


def _import() -> JsonObject:
    events = _list(_reference("Event"), minItems=1, maxItems=_facts.MAX_RECORDS)
    imported = _answer(
        "All are imported; without strict=1 also if not, and then 0.",
        **{
            _JSON: {"anyOf": [_reference("Imported"), _reference("Verdict")]},
            _TEXT: {"enum": ["0", "1", 0, 1]},
        },
    )
    operation = _operation(
        "Import events.",
        {
            "200": imported,
            "400": _json("Some events, or the request, are invalid.", _reference("Refused")),
            "401": _REFUSED,
            "413": _REFUSED,
            "429": _json("Too many.", {"anyOf": [_reference("Refused"), _reference("Verdict")]}),
        },
        parameters=_query(strict=_SWITCH, verbose=_SWITCH, project_id={"type": "string"}),
        body={**_records("Event"), _JSON: events, _LINES: {"type": "string"}},
        secure=True,
    )
    return {"post": operation}


def _legacy(summary: str, name: str) -> JsonObject:
    responses = {"200": _VERDICT, "413": _REFUSED, "429": _REFUSED}
    return {
        "post": _operation(summary, responses, parameters=_SHAPE, body=_records(name)),
        "get": _operation(
            summary, responses, parameters=[*_SHAPE, *_query(data={"type": "string"})]
        ),
    }


def _export() -> JsonObject:
    day: JsonObject = {"type": "string", "format": "date"}
    days = [{**each, "required": True} for each in _query(from_date=day, to_date=day)]
    others = _query(
        project_id={"type": "string"},
        event={"type": "string"},
        limit={"type": "integer", "minimum": 1, "maximum": _facts.MAX_EXPORTED},
        time_in_ms={"type": "boolean"},
    )
    responses = {
        "200": _answer("An event a line, as Mixpanel gives it back.", **{_TEXT: {}}),
        "400": _REFUSED,
        "401": _REFUSED,
    }
    return {
        "get": _operation("Export events.", responses, parameters=[*days, *others], secure=True)
    }


def _get(summary: str, kind: str, *, parameters: list[JsonObject] | None = None) -> JsonObject:
    found = _answer(summary, **{kind: {}})
    return {"get": _operation(summary, {"200": found}, parameters=parameters)}


def _own() -> JsonObject:
    done = _json("Done.", _object("status", status={"const": "ok"}))
    wrong = _json("The faults make no sense.", _object("error", error={"type": "string"}))
    typed = _answer("The content type is wrong.", **{_TEXT: {"type": "string"}})
    page = _operation(
        "A file of the page.",
        {"200": _answer("The file.", **{"*/*": {}}), "404": _answer("None.", **{_TEXT: {}})},
        parameters=[{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
    )
    root = _operation(
        "The page.",
        {"200": _answer("It.", **{"text/html": {}}), "303": _answer("The key became a cookie.")},
        parameters=_query(access={"type": "string"}),
    )
    stats = _json("Counts since the start or the last reset.", _reference("Stats"))
    return {
        "/": {"get": root},
        "/favicon.ico": _get("The page's icon.", "image/svg+xml"),
        "/_emulator/page/{name}": {"get": page},
        "/_emulator/events": _get(
            "Stored events, one a line.", _LINES, parameters=_query(dedup=_SWITCH)
        ),
        "/_emulator/profiles": _get("Profiles of users and groups, one a line.", _LINES),
        "/_emulator/stats": {"get": _operation("Counts.", {"200": stats})},
        "/_emulator/live": _get(
            "Updates for the page, without end.",
            "text/event-stream",
            parameters=_query(
                part={"enum": ["events", "users", "names", "faults"]},
                q={"type": "string"},
                name={"type": "string"},
                user={"type": "string"},
                endpoint={"type": "string"},
                repeated=_SWITCH,
                follow=_SWITCH,
                lines=_WHOLE,
            ),
        ),
        "/_emulator/failures": _get("Kinds of failure, one a line, the newest first.", _LINES),
        "/_emulator/openapi.json": _get("This document.", _JSON),
        "/_emulator/reset": {
            "post": _operation(
                "Forget everything.", {"200": done, "415": typed}, body={_JSON: _ANY_OBJECT}
            )
        },
        "/_emulator/faults": {
            "post": _operation(
                "Misbehave from now on.",
                {"200": done, "400": wrong, "415": typed},
                body={_JSON: _list(_reference("Fault"))},
            ),
            "delete": _operation("Misbehave no longer.", {"200": done, "415": typed}),
        },
        "/_emulator/faults/{number}": {
            "delete": _operation(
                "Put an end to one fault.",
                {"200": done, "404": _answer("None.", **{_TEXT: {}}), "415": typed},
                parameters=[{"name": "number", "in": "path", "required": True, "schema": _WHOLE}],
            )
        },
    }


def document() -> JsonObject:
    """Return the OpenAPI document."""
    clients: JsonObject = {"/import": _import()}
    for path, summary, name in (
        ("/track", "Take events.", "Event"),
        ("/engage", "Update profiles of users.", "Update"),
        ("/groups", "Update profiles of groups.", "Update"),
    ):
        clients |= dict.fromkeys((path, f"{path}/"), _legacy(summary, name))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mixpanel on this machine", "version": "1"},
        "paths": {**clients, "/api/2.0/export": _export(), **_own()},
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
    }
