"""
One record through a door, and which rule did what to it.

::

    _spoken         JSON -> what an application would hand to a door
    _trial          through the door, into a pipeline that only watches
    _reasons        what went in compared with what came out
    _show           as a text for the terminal

No rule is written down here a second time: the doors do what they always do, and the reasons are
found by asking the functions that decide, and by comparing.
"""
