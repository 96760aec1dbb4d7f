"""What the pages of `hookshelf browse` cost, at the server and in a browser."""
