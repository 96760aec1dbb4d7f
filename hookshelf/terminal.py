"""What is shown to a person: one place, so that nothing from outside speaks to the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chalicelib.errors import HookshelfError, MisuseError


def printable(text: str) -> str:
    r"""The text with all that a terminal might obey, or not show, escaped: ESC is `\u001b`.

    That is whatever Unicode does not call printable: control and format characters, line breaks
    too, C1, text direction, and halves of surrogate pairs. https://cwe.mitre.org/data/definitions/150
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable()
        else f"\\u{ord(char):04x}"
        if ord(char) < 0x10000
        else f"\\U{ord(char):08x}"
        for char in text
    )


def show(line: str, *, err: bool = False) -> None:
    """Print one line, wherever its parts came from; what the terminal cannot write is escaped."""
    clear_progress()
    stream = sys.stderr if err else sys.stdout
    encoding = stream.encoding or "utf-8"
    text = printable(line).encode(encoding, "backslashreplace").decode(encoding)
    print(text, file=stream)


_progress = {"is_shown": False}


def show_progress(line: str) -> None:
    """Say on stderr how far something is: in place of what was said before, on a terminal."""
    if not sys.stderr.isatty():
        show(line, err=True)
        return
    print(f"\r\x1b[2K{printable(line)}", end="", file=sys.stderr, flush=True)
    _progress["is_shown"] = True


def clear_progress() -> None:
    """Make room for what is printed next."""
    if _progress["is_shown"]:
        print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
        _progress["is_shown"] = False


Failure = Callable[[str], Exception]  # makes what shows a message, such as click's exceptions


@contextmanager
def readable_failures(misuse: Failure, failure: Failure) -> Iterator[None]:
    """Within it, what is not in order becomes a message instead of a traceback.

    An error that nobody foresaw stays itself.
    """
    try:
        with _refusals_of_aws():
            yield
    except BrokenPipeError:
        raise  # whoever read our output has seen enough; click ends quietly
    except Exception as error:
        raise _readable(error, misuse, failure) from None


def _readable(error: Exception, misuse: Failure, failure: Failure) -> Exception:
    from chalicelib.store import NotStored, Unreadable

    text = "\n".join(map(printable, str(error).split("\n")))  # it may quote what came from outside
    match error:
        case MisuseError():
            return misuse(text)
        case NotStored() | Unreadable() if "NoCredentialsError" in text:
            from hookshelf.aws import NO_CREDENTIALS

            return misuse(NO_CREDENTIALS)
        case NotStored() | Unreadable():
            return failure(f"The archive cannot be reached: {text}")
        case HookshelfError():
            return failure(text)
        case OSError():
            return failure(f"This machine refused: {text}")
    return error


@contextmanager
def _refusals_of_aws() -> Iterator[None]:
    """What AWS refuses, as one of our errors; only commands that ask AWS load what that needs."""
    try:
        yield
    except Exception:
        if "botocore" not in sys.modules:
            raise
        from hookshelf.aws import readable_errors

        with readable_errors():
            raise
