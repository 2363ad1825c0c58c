"""Every deliberate exception of the service. Knows no HTTP: `api/http/error_handlers.py` maps classes to status codes.

MagnesiumCdsError
├── BadRequest            the caller's message is wrong, at a named place
│   ├── TooLarge          more bytes, entries or depth than we read
│   └── NotFound          the named service, rule, parameter or calculation does not exist
├── MissingData           needed data were neither sent nor obtainable
├── Unauthorised          the caller did not prove who it is (no reason is given to it)
├── TooManyRequests       the caller exceeded its rate
├── Overloaded            too many requests at present
├── SettingsError         configuration is wrong; carries every problem at once
└── StoreUnavailable      the database did not answer in time
"""

from __future__ import annotations

from collections.abc import Sequence


class MagnesiumCdsError(Exception):
    """Base of all deliberate errors; the message is fit to be shown to support staff and holds no patient data."""


class BadRequest(MagnesiumCdsError):
    """The message cannot be read as what it should be; `where` is a JSON path such as `$.context.patientId`."""

    def __init__(self, message: str, where: str = "$") -> None:
        super().__init__(message)
        self.where = where


class TooLarge(BadRequest):
    """More than the service is willing to read."""


class NotFound(BadRequest):
    """The path or the body names something that does not exist here."""


class MissingData(MagnesiumCdsError):
    """Data without which no honest answer is possible; `missing` maps each prefetch key to why it is not there."""

    def __init__(self, missing: dict[str, str]) -> None:
        super().__init__("; ".join(f"{key}: {why}" for key, why in missing.items()))
        self.missing = missing


class Unauthorised(MagnesiumCdsError):
    """The request carries no acceptable proof of its sender; the reason goes to the log, never to the caller."""


class TooManyRequests(MagnesiumCdsError):
    """The sender's rate limit is used up; `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(MagnesiumCdsError):
    """Too many requests are being worked on; `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SettingsError(MagnesiumCdsError):
    """All problems of the configuration, each with its place."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class StoreUnavailable(MagnesiumCdsError):
    """The store did not answer within its deadline."""
