"""What HTTP asks of every endpoint: bodies, limits, errors, headers."""
