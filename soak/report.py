"""What came of a soak: Markdown tables and lines, and in words whatever was not as it must be."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field


@dataclass
class Report:
    """Printed as it grows; `failures` are what the exit code speaks of, `left_out` what this machine does not allow."""

    failures: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def title(self, words: str) -> None:
        """A heading."""
        self.line(f"\n### {words}\n")

    def table(self, *columns: str) -> None:
        """The head of a table."""
        self.row(*columns)
        self.row(*("---" for _ in columns))

    def row(self, *cells: object) -> None:
        """A row of a table."""
        self.line(f"| {' | '.join(map(str, cells))} |")

    def line(self, words: str) -> None:
        """A line, seen at once."""
        sys.stdout.write(words + "\n")
        sys.stdout.flush()

    def not_run(self, what: str) -> None:
        """A part that this machine does not allow: said here and at the end, so that nobody takes it for run."""
        self.left_out.append(what)
        self.line(f"NOT RUN: {what}")

    def check(self, what: str, *reasons: str) -> str:
        """The verdict on `what`: "ok" without reasons against it; with reasons a failure."""
        found = list(dict.fromkeys(filter(None, reasons)))
        self.failures += [f"{what}: {reason}" for reason in found]
        return "; ".join(["**FAILED**", *found]) if found else "ok"
