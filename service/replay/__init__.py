"""A chart judged again at moments of its past, as a reader would have seen it."""
