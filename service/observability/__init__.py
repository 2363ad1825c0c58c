"""The service at work, as its operators see it: times, counts, traces and the log."""
