"""What tests stand on: servers, fakes, and short ways to send."""
