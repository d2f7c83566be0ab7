"""The group of all commands."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Final, cast

import click

from mixpanel_export import __version__

# Where each command is. One is loaded when it is asked for, so that it does not stand in the way of
# the others if its extra is missing.
_COMMANDS: Final = {
    "demo": "mixpanel_export.cli._demo",
    "emulator": "mixpanel_export.emulator._command",
    "check": "mixpanel_export.cli._check",
    "explain": "mixpanel_export.cli._explain",
    "import": "mixpanel_export.cli._import",
    "run": "mixpanel_export.cli._run",
    "spool": "mixpanel_export.cli._spool",
    "tail": "mixpanel_export.cli._tail",
}

# What a command is called in its module, where that is a word of Python's.
_NAMES: Final = {"import": "import_"}


class _Lazy(click.Group):
    """A group that imports a command when it is needed, and knows what a misspelt one meant."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Name the commands, the one to begin with first."""
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Load one; None if there is none of this name."""
        if name not in _COMMANDS:
            return None
        return cast(
            "click.Command", import_module(_COMMANDS[name]).__dict__[_NAMES.get(name, name)]
        )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that *args* begin with; raises `click.UsageError` if there is none."""
        if args[0] not in _COMMANDS and (alike := get_close_matches(args[0], _COMMANDS, n=1)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {alike[0]!r}?")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""For a shell that completes commands, flags and files: in bash, and alike in zsh with
    zsh_source,

    \b
        eval "$(_MIXPANEL_EXPORT_COMPLETE=bash_source mixpanel-export)"

    and in fish

    \b
        _MIXPANEL_EXPORT_COMPLETE=fish_source mixpanel-export | source""",
)
@click.version_option(__version__, prog_name="mixpanel-export")
def command() -> None:
    """
    Send product events to Mixpanel from logs and traces.

    To see what it does, without an account and without anything leaving this machine:

    \b
        mixpanel-export demo

    To run a program against a Mixpanel on this machine, and watch the events on its page:

    \b
        mixpanel-export run -- python your_application.py

    The same with an emulator that stays, for more than one program:

    \b
        mixpanel-export emulator

    \b
        # in another terminal
        export MIXPANEL_TOKEN=anything MIXPANEL_BASE_URL=http://127.0.0.1:8787
        python your_application.py

    To bring history into a project, from files in any of the usual formats:

    \b
        MIXPANEL_TOKEN=… mixpanel-export import events/*.ndjson.gz

    If nothing arrives, or not as expected:

    \b
        MIXPANEL_TOKEN=… mixpanel-export check --app your_application
        mixpanel-export explain '{"message": "Paid", "plan": "pro"}'
    """  # noqa: D301 -- click's sign for "leave these lines as they are"
