"""The application for a WSGI server: that of `magnesium-cds serve`, or one of your own."""

from __future__ import annotations

import os

from service.app import application
from service.settings import load
from service.site import site_schema

app = application(load(os.environ, site_schema()))  # noqa: TID251  an entry point hands the environment to settings
