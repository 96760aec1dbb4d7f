"""The command line. Each command is one module in commands/, named by its file."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import click

from chalicelib.errors import HookshelfError, MisuseError
from chalicelib.store import NotStored, Unreadable
from hookshelf import commands
from hookshelf.aws import readable_errors


class Commands(click.Group):
    """Loads the module of a command when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command there is: the modules whose names do not begin with an underscore."""
        names = (module.name for module in iter_modules(commands.__path__))
        return sorted(name for name in names if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, which its module calls `command`."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"{commands.__name__}.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a wrong setting, or what AWS refuses, is a message, not a traceback."""
        try:
            with readable_errors():
                return super().invoke(ctx)
        except MisuseError as error:
            raise click.UsageError(str(error)) from None
        except (NotStored, Unreadable) as error:
            raise click.ClickException(f"The archive cannot be reached: {error}") from None
        except HookshelfError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            raise click.ClickException(f"This machine refused: {error}") from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hookshelf")
def main() -> None:
    """Keep every webhook you are sent; verify and try it from here."""


if __name__ == "__main__":
    main()
