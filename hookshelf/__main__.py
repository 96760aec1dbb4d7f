"""The command line. Each command is one module in commands/, named by its file."""

from __future__ import annotations

import sys
from types import TracebackType

INTERRUPTED = 130  # what shells say of a program that Ctrl-C ended


def _end_quietly(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Ctrl-C is no fault that a traceback would explain, also while modules are imported."""
    if issubclass(kind, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    sys.__excepthook__(kind, error, traceback)


sys.excepthook = _end_quietly  # before anything else is imported, which takes a while

from importlib import import_module  # noqa: E402
from importlib.util import find_spec  # noqa: E402
from pkgutil import iter_modules  # noqa: E402

import click  # noqa: E402

from hookshelf import commands  # noqa: E402
from hookshelf.terminal import clear_progress, readable_failures  # noqa: E402


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List each command with what its module says of it, which is read and not imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(name)) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; what is not in order is a message, not a traceback."""
        try:
            with readable_failures(click.UsageError, click.ClickException):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            clear_progress()
            click.echo("\nAborted!", err=True)
            ctx.exit(INTERRUPTED)


def _summary(name: str) -> str:
    """What the first line of a command's module says after its name."""
    spec = find_spec(f"{commands.__name__}.{name}")
    source = spec.loader.get_source(spec.name) if spec and spec.loader else ""  # type: ignore[attr-defined]
    first_line = (source or "").partition("\n")[0]
    text = str(first_line).partition("`: ")[2].rstrip('".')
    return text[:1].upper() + text[1:]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hookshelf")
def main() -> None:
    """Keep every webhook you are sent; verify and try it from here."""


if __name__ == "__main__":
    main()
