"""The engine's public names, for those who build on it: a gateway, a backfill, a transport."""

from mixpanel_export._batch import Batch
from mixpanel_export._clock import Clock, Deadline
from mixpanel_export._outcome import (
    Delivered,
    Misconfigured,
    Outcome,
    Refused,
    Rejection,
    Retryable,
    TooLarge,
)
from mixpanel_export._sender import Attempt, Sender
from mixpanel_export._translate import Translator, translate
from mixpanel_export._transport import HttpxTransport, Transport
from mixpanel_export._wire import Request, Response, encode

__all__ = [
    "Attempt",
    "Batch",
    "Clock",
    "Deadline",
    "Delivered",
    "HttpxTransport",
    "Misconfigured",
    "Outcome",
    "Refused",
    "Rejection",
    "Request",
    "Response",
    "Retryable",
    "Sender",
    "TooLarge",
    "Translator",
    "Transport",
    "encode",
    "translate",
]
