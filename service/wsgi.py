"""The application for a WSGI server."""

from __future__ import annotations

import gc
import os

from service.app import create_app, known
from service.settings import load

app = create_app(load(os.environ, known()))  # noqa: TID251  an entry point hands the environment to settings
gc.collect()
gc.freeze()  # what was imported lives for ever: keep it out of later collections
