"""What holds for every test."""

from __future__ import annotations

import signal

# A shell that starts this in the background leaves SIGINT ignored, and every process started here would inherit that:
# the tests that interrupt a program then wait for an end that never comes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
