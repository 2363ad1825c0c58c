"""Measures the service against a bare minimum, as ratios in one run: `make bench`."""
