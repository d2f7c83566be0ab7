"""
Count the words of files, each in a span of its own; Mixpanel gets the spans as events.

    MIXPANEL_TOKEN=... python otel_script.py alice README.md notes.txt

The same spans may go to a tracing backend: add its exporter beside ours.
"""

import sys
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from mixpanel_export import bound
from mixpanel_export.otel import MixpanelContextSpanProcessor, MixpanelSpanExporter

tracer = trace.get_tracer("word_counter")


def set_up() -> None:
    """Have spans exported; nothing needs to be flushed at the end."""
    provider = TracerProvider(resource=Resource.create({"service.name": "word_counter"}))
    provider.add_span_processor(MixpanelContextSpanProcessor())
    provider.add_span_processor(BatchSpanProcessor(MixpanelSpanExporter()))
    trace.set_tracer_provider(provider)


def count(path: Path) -> int:
    """Count the words of one file; raises OSError if it cannot be read."""
    with tracer.start_as_current_span("Words Counted", attributes={"kind": path.suffix}) as span:
        words = len(path.read_text(encoding="utf-8", errors="replace").split())
        span.set_attribute("words", words)
        if not words:
            span.add_event("Empty File Found")
        return words


def main() -> int:
    """Count all; returns 1 at the first file that cannot be read."""
    user, *names = sys.argv[1:]
    try:
        with bound(distinct_id=user):
            for name in names:
                print(f"{count(Path(name)):,} {name}")
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    set_up()
    sys.exit(main())
