"""Reading an archive back."""
