"""The command line. Each verb is one module in verbs/, found by its file name."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import click

from chalicelib.settings import SettingError
from chalicelib.store import NotStored, Unreadable
from hookshelf import verbs
from hookshelf.aws import refusals


class Verbs(click.Group):
    """Loads the module of a verb when the verb is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb there is."""
        return sorted(module.name for module in iter_modules(verbs.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name, which its module calls `command`."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"{verbs.__name__}.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb; a wrong setting, or what AWS refuses, is a message, not a traceback."""
        try:
            with refusals():
                return super().invoke(ctx)
        except SettingError as error:
            raise click.UsageError(str(error)) from None
        except OSError as error:
            raise click.ClickException(f"This machine refused: {error}") from None
        except (NotStored, Unreadable) as error:
            raise click.ClickException(f"The archive cannot be reached: {error}") from None


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hookshelf")
def main() -> None:
    """Keep every webhook you are sent; verify and try it from here."""


if __name__ == "__main__":
    main()
