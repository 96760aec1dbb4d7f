"""One module for each subject; the folder is the registry. See ../registry.py."""
