"""The steps by which the tables came to be.

Old and new versions of the service run together during an update, so a migration only adds: tables, indexes, columns
that are nullable or have a server default. What is no longer used is dropped one release after the last version that
used it. `tests/store/test_migrations.py` reads the SQL of every step and refuses anything else.
"""
