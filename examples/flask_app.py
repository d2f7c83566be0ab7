"""
A Flask application whose events know who asked, from where, and which campaign sent them.

    MIXPANEL_TOKEN=... gunicorn flask_app:app
    curl -c cookies -d name=mary http://127.0.0.1:8000/login
    curl -b cookies -d tea=oolong http://127.0.0.1:8000/orders

The same middleware serves every other WSGI application.
"""

import logging
import os
from collections.abc import Iterator

from flask import Flask, Response, has_request_context, request, session

import mixpanel_export
from mixpanel_export.wsgi import Environ, MixpanelMiddleware

log = logging.getLogger("shop")
log.setLevel(logging.INFO)
log.addHandler(mixpanel_export.MixpanelHandler())

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY", "only for a look at it")


@app.post("/login")
def log_in() -> str:
    """Let somebody in; a real shop would ask for a password."""
    session["user_id"] = request.form["name"]
    log.info("Logged In", extra={"by": "form"})
    return "welcome\n"


@app.post("/orders")
def order() -> Response:
    """Take an order, and tell how it goes while the response is already under way."""
    tea = request.form["tea"]
    mixpanel_export.bind(tea=tea)  # Holds until the response is out.
    log.info("Tea Ordered", extra={"cups": 2})

    def progress() -> Iterator[str]:
        yield "brewing\n"
        log.info("Tea Brewed", extra={"minutes": 3})
        yield "done\n"

    return Response(progress(), mimetype="text/plain")


def who(environ: Environ) -> str | None:
    """Say whose the events of a request are; Flask has put its session away when it streams."""
    if has_request_context():
        environ["shop.user_id"] = session.get("user_id")
    return environ.get("shop.user_id")


app.wsgi_app = MixpanelMiddleware(app.wsgi_app, identify=who, proxies=1)  # type: ignore[method-assign]  # Flask's own way
