"""What runs in Lambda. Nothing here imports from hookshelf/."""
