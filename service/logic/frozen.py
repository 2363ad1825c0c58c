"""`dataclass(frozen=True, slots=True)` of which the type checker alone sees to it that nothing is changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen: bool, slots: bool) -> Callable[[type[Any]], type[Any]]:
        """Equal, hashed, shown and replaced as a frozen one, whose making is a tenth of the work of a small call.

        CPython sets each field of a frozen one by a call of `object.__setattr__`, six times as dear as an assignment.
        """
        assert frozen  # noqa: S101  else the standard one is meant
        return dataclasses.dataclass(slots=slots, unsafe_hash=True)


__all__ = ["dataclass"]
