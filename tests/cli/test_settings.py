"""Settings: typed, listed in README, and a wrong one stops the start with one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from graph.settings.config import SettingsError, load_settings
from graph.settings.table import with_table


def test_readme_lists_every_setting_with_its_default(repository: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    assert with_table(readme) == readme, "run make docs"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "nonsense"),
        ("RUNGLASS_PORT", "http"),
        ("RUNGLASS_PORT", "70000"),
        ("RUNGLASS_TIME_ZONE", "Mars/Olympus"),
        ("RUNGLASS_TIME_ZONE", "../../etc/passwd"),
        ("RUNGLASS_POOL_MAX_SIZE", "0"),
        ("RUNGLASS_STATEMENT_TIMEOUT", "-1"),
        ("RUNGLASS_DAILY_TOKENS", "many"),
        ("RUNGLASS_TRUSTED_PROXIES", "10.0.0.1, proxy.example"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert variable in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sizes_that_contradict_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNGLASS_POOL_MIN_SIZE", "20")
    with pytest.raises(SettingsError, match="RUNGLASS_POOL_MIN_SIZE"):
        load_settings()
