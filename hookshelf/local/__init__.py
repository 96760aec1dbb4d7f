"""What serves and feeds hookshelf on your own machine."""
