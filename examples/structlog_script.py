"""
Guess a number, one guess a line; Mixpanel learns how games end.

    MIXPANEL_TOKEN=... python structlog_script.py alice

What carries a `distinct_id` is an event. The other lines are printed only, as all are.
"""

import random
import sys

import structlog

from mixpanel_export import MixpanelProcessor

HIGHEST = 100

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        MixpanelProcessor(),
        structlog.processors.JSONRenderer(sort_keys=True),
    ]
)
log = structlog.get_logger()


def play(number: int) -> int | None:
    """Read guesses until one is *number*; returns how many it took, None if they ended before."""
    for count, line in enumerate(sys.stdin, 1):
        guess = int(line)
        if guess == number:
            return count
        log.info("too low" if guess < number else "too high", guess=guess)
    return None


def main() -> None:
    """Play one game."""
    player = sys.argv[1]
    # What is bound goes with every line of the game, and so with its events.
    structlog.contextvars.bind_contextvars(highest=HIGHEST)
    log.info("Game Started", distinct_id=player)
    guesses = play(random.randint(1, HIGHEST))
    if guesses is None:
        log.info("Game Left", distinct_id=player)
    else:
        log.info("Game Won", distinct_id=player, guesses=guesses)


if __name__ == "__main__":
    main()
