"""
Why nothing arrives: what can be found out from here, each finding with its fix.

::

    _finding        what was found, and how bad it is
    _probe          one question to one host: are these credentials right? It stores nothing
    _network        credentials, region, token, clock, proxy, TLS
    _app            the application, imported: its doors, loggers and handlers
    _place          this machine: the spool, servers that fork
    _show           as a text for the terminal
"""
