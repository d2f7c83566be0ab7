"""Settings as flags: what is declared in `Settings` is declared nowhere else."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from mixpanel_export import Settings, SettingsError
from mixpanel_export._limits import HOSTS
from mixpanel_export._settings import PREFIX, SELECTIONS

# What a shell offers for the values of settings.
_OFFERS: Final = {"region": tuple(HOSTS), "select": SELECTIONS, "include": ("message", "stack")}

_Command = TypeVar("_Command", bound=Callable[..., Any])


def settings_flags(names: Collection[str]) -> Callable[[_Command], _Command]:
    """
    Give a command the flags of these settings; `settings_of` makes settings of what they say.

    A flag that is not given leaves the setting to its variable, ``MIXPANEL_…``, or its default.
    """
    fields = {each.name: each for each in dataclasses.fields(Settings)}

    def decorate(command: _Command) -> _Command:
        for name in reversed(list(names)):
            command = _option(fields[name])(command)
        return command

    return decorate


def _option(each: dataclasses.Field[Any]) -> Callable[[_Command], _Command]:
    flag = "--" + each.name.replace("_", "-")
    text, read = each.metadata["help"], each.metadata["read"]
    if isinstance(each.metadata["default"], bool):
        return click.option(f"{flag}/--no-{flag[2:]}", each.name, default=None, help=text)

    def convert(_ctx: click.Context, _param: click.Parameter, value: str | None) -> object:
        try:
            return None if value is None else read(value)
        except ValueError as error:
            raise click.BadParameter(f"{error}, not {value!r}") from None

    def offer(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
        if each.name == "spool":
            return [CompletionItem(begun, type="dir")]
        return [
            CompletionItem(word) for word in _OFFERS.get(each.name, ()) if word.startswith(begun)
        ]

    return click.option(
        flag, each.name, metavar="…", help=text, callback=convert, shell_complete=offer
    )


def settings_of(flags: Mapping[str, Any], **defaults: Any) -> Settings:  # noqa: ANN401 -- any field
    """
    Make settings of flags and of the environment.

    Args:
        flags: What `settings_flags` gave the command.

        defaults: What holds if neither a flag nor the environment says anything.

    Raises:
        click.UsageError: If they are wrong.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    for name, value in defaults.items():
        if not os.environ.get(PREFIX + name.upper()):
            given.setdefault(name, value)
    try:
        return Settings.from_environment(**given)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
