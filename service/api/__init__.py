"""The edge: HTTP in, HTTP out. Nothing below this package knows that HTTP exists."""
