"""README's table of settings, written from `graph.settings.config`: `python -m graph.settings.table`."""

from __future__ import annotations

import re
from pathlib import Path

from graph.settings.config import Settings, variable_name

README = Path(__file__).parents[2] / "README.md"
_PLACE = re.compile(r"(<!-- settings: .*? -->\n).*?(<!-- /settings -->)", re.DOTALL)


def settings_table() -> str:
    """The table in Markdown, one row per setting."""
    rows = [
        f"| `{variable_name(name)}` | {_shown(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| setting | default | what it is |", "| --- | --- | --- |", *rows, ""])


def with_table(readme: str) -> str:
    """README's text with the table as it should be."""
    return _PLACE.sub(lambda match: match[1] + settings_table() + match[2], readme)


def _shown(default: object) -> str:
    return "" if default is None or default == "" else f"`{default}`"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
