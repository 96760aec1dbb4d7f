"""The workstation side of hookshelf; never packaged into Lambda."""
