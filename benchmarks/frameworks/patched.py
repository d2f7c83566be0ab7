"""
Gunicorn's configuration for gevent and --preload: the master is patched before it imports anything.
"""

import importlib

# Not installed where types are checked.
importlib.import_module("gevent.monkey").patch_all()
