"""The base of what hookshelf raises."""


class HookshelfError(Exception):
    """Something is not in order; the text says what, and what to do next."""


class MisuseError(HookshelfError):
    """What was asked for makes no sense as it was asked; a command line ends with exit code 2."""
