"""Words of a file: of statuses, those that may stand for no value, and those that --map turns into others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from resolvers.imports.errors import ImportUsageError
from resolvers.imports.escapes import shown
from resolvers.runs.run_logs import FINISHED

WORDS: dict[str, tuple[str, ...]] = {
    "status": ("pending", "running", *FINISHED),
    "alert_status": ("pending", "acknowledged", "ignored"),
}
"""What a column may hold, in any case of letters."""

# How programs write that there is nothing. In a prompt or an answer it is text.
_NOTHINGS = frozenset({"NULL", "null", "\\N", "None", "nan", "NaN", "N/A", "#N/A"})
_LONG_TEXTS = frozenset({"request_prompt", "response_text"})


class Words:
    """What --map says of one column."""

    def __init__(self, name: str, words: Mapping[str, str]) -> None:
        self._name = name
        self._any_case = name in WORDS
        self._words = {self._key(word): value or None for word, value in words.items()}
        self.unused = {self._key(word): word for word in words}
        self._kept = frozenset(value for value in words.values() if value)
        for word, value in words.items():
            if value and name in WORDS and value.lower() not in WORDS[name]:
                raise ImportUsageError(
                    f"--map {name}:{word}={value}: {name} is one of {', '.join(WORDS[name])}"
                )

    def _key(self, word: str) -> str:
        return word.strip().lower() if self._any_case else word

    def map(self, cells: Sequence[str | None]) -> Sequence[str | None]:
        """The cells with the words of --map turned into theirs."""
        if not self._words:
            return cells
        found = {
            cell: self._key(cell)
            for cell in set(cells)
            if cell is not None and self._key(cell) in self._words
        }
        for key in found.values():
            self.unused.pop(key, None)
        if not found:
            return cells
        return [self._words[found[cell]] if cell is not None and cell in found else cell for cell in cells]

    def refusals(self, cells: Sequence[str | None]) -> dict[str, str]:
        """Why some of the cells' words cannot be loaded, by word."""
        known = set(cells)
        refused: dict[str, str] = {}
        if self._name in WORDS:
            for cell in known:
                if cell is not None and cell.strip().lower() not in WORDS[self._name]:
                    refused[cell] = (
                        f"is none of {', '.join(WORDS[self._name])};"
                        f" map it, as in --map {self._name}:WORD=VALUE"
                    )
        elif self._name not in _LONG_TEXTS:
            for cell in (_NOTHINGS - self._kept) & known:
                refused[cell] = (
                    f"may be that word or no value: --map {self._name}:{cell}= for no value,"
                    f" --map {self._name}:{cell}={cell} for the word"
                )
        return refused

    def written(self, cells: Sequence[str | None]) -> list[str | None]:
        """Words of a vocabulary in the case in which they are stored."""
        words = {cell: None if cell is None else cell.strip().lower() for cell in set(cells)}
        return [words[cell] for cell in cells]


def told_unused(words: Mapping[str, Words]) -> list[str]:
    """The mappings that no cell needed."""
    return [
        f"--map {name}:{shown(word)[1:-1]}" for name, each in words.items() for word in each.unused.values()
    ]
