"""So many rows, with so many fen."""

from typing import NamedTuple


class Sum(NamedTuple):
    """So many rows, with so many fen in all."""

    rows: int = 0
    fen: int = 0

    def plus(self, rows: int, fen: int) -> "Sum":
        """This sum with some more rows."""
        return Sum(self.rows + rows, self.fen + fen)
