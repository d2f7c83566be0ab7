"""
A Django project in one file whose events know who asked, from where, and which campaign sent them.

    export MIXPANEL_TOKEN=... DJANGO_SUPERUSER_PASSWORD=...
    python django_app.py migrate
    python django_app.py createsuperuser --noinput --username mary --email mary@example.com
    gunicorn django_app:wsgi    # or: uvicorn django_app:asgi
    curl -u mary:... -d tea=oolong http://127.0.0.1:8000/orders
"""

import logging
import os
import sys
from base64 import b64decode

from django.conf import settings
from django.contrib.auth import authenticate
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

import mixpanel_export

DATABASE = os.environ.get("DATABASE", "shop.sqlite3")
settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"mixpanel": {"class": "mixpanel_export.MixpanelHandler"}},
        "loggers": {"shop": {"level": "INFO", "handlers": ["mixpanel"]}},
    },
    MIDDLEWARE=["mixpanel_export.django.MixpanelMiddleware"],  # First: it surrounds the others.
    MIXPANEL_EXPORT={"proxies": 1},
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "only for a look at it"),
)
log = logging.getLogger("shop")
mixpanel_export.drain_on_sigterm()  # uvicorn ends without what Python does at exit.


def order(request: HttpRequest) -> HttpResponse:
    """Take an order of somebody who has a password."""
    given = b64decode(request.headers["Authorization"].split()[1]).decode()
    name, _, password = given.partition(":")
    request.user = authenticate(request, username=name, password=password)
    log.info("Tea Ordered", extra={"tea": request.POST["tea"]})  # The user is request.user.
    return HttpResponse("it is on its way\n", status=202)


urlpatterns = [path("orders", order)]
wsgi, asgi = get_wsgi_application(), get_asgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
