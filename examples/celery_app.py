"""
A web application and its Celery worker: the events of a task know whose request has caused it.

    export MIXPANEL_TOKEN=... BROKER=redis://127.0.0.1:6379/0
    celery -A celery_app:jobs worker &
    gunicorn celery_app:web
    curl -u mary:... -d tea=oolong http://127.0.0.1:8000/orders
"""

import logging
import os

from celery import Celery
from flask import Flask, request

import mixpanel_export
import mixpanel_export.celery
from mixpanel_export.wsgi import MixpanelMiddleware

log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(mixpanel_export.MixpanelHandler())

jobs = Celery("jobs", broker=os.environ.get("BROKER", "redis://127.0.0.1:6379/0"))
mixpanel_export.celery.connect()  # In the web application and in the worker: both import this file.

web = Flask(__name__)
web.wsgi_app = MixpanelMiddleware(web.wsgi_app, proxies=1)  # type: ignore[method-assign]  # Flask's own way


@web.post("/orders")
def order() -> tuple[str, int]:
    """Take an order; a real shop would look at the password."""
    name = request.authorization.username if request.authorization else None
    mixpanel_export.bind(distinct_id=name)
    log.info("Tea Ordered", extra={"tea": request.form["tea"]})
    brew.delay(request.form["tea"])
    return "it is on its way\n", 202


@jobs.task(bind=True, max_retries=1)  # type: ignore[untyped-decorator]  # Celery has no types
def brew(task: jobs.Task, tea: str) -> None:  # type: ignore[name-defined]  # likewise
    """Brew tea; the first time the water is too cold."""
    if task.request.retries == 0:
        raise task.retry(countdown=0)
    with mixpanel_export.bound(tea=tea):
        log.info("Tea Brewed", extra={"minutes": 3})
    serve.delay()


@jobs.task  # type: ignore[untyped-decorator]  # Celery has no types
def serve() -> None:
    """Serve the tea; whose it is, is known here too."""
    log.info("Tea Served", extra={"hot": True})
