"""A sentence that can be translated: an English template and named values, formatted only when a card is written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Union

Value = Union[str, int, Decimal, date, datetime, "Message", tuple["Value", ...]]


class Message:
    """An English template (also its message id) with values for its `{names}`.

    A value may be a number, a moment, a word that is not translated (a drug as written in the chart), another Message,
    or a tuple of these, which is joined as a list. Every literal template is found by `pybabel extract -k Message`.
    """

    __slots__ = ("template", "values")

    def __init__(self, template: str, /, **values: Value) -> None:
        self.template = template
        self.values: Mapping[str, Value] = values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and (self.template, self.values) == (other.template, other.values)

    def __hash__(self) -> int:
        return hash((self.template, tuple(self.values)))

    def __repr__(self) -> str:
        return f"Message({self.template!r}, {dict(self.values)!r})"
