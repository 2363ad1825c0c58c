"""Runs the real service among dependencies that break, and says what came of it: `make soak`."""
