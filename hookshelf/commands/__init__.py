"""One command of the command line per module; its first line is what `hookshelf --help` says."""
