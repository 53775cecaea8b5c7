"""The migrations from before the baseline (0001 to 0016), by which their databases are known.

Such a database holds what the baseline makes, so its ledger is written anew and nothing else is done.
"""

from __future__ import annotations

FORMER_MIGRATIONS = {
    "0001_store": "2dd27dc1db7146f5e83ab0e5d3ed270b2dba9fd916b313107b18c983457f6614",
    "0002_rollups": "50c4951fdadd889ab8f10b38ecd2f6e7efb135bd57f7c87f36c8842f6f890f6c",
    "0003_access": "ad21636088a9201e65222e272928f508097dda2630833cb5352e16daa30e9f41",
    "0004_work": "4f429aa02884c4a3ab867dd87582796fc64046a8446db2f2d7cee2ea6dd6f6c5",
    "0005_idempotency": "b6d4a53b467dd6796e79a09c59bf4b9f25acddca5be1ed600cadcec128607252",
    "0006_budgets": "3bd757eed18b2e6250c9e8b857d3904a923dcbea8ef1417b593a7fa09ab5a257",
    "0007_model_prices": "29c631704aaed910aef0875fd620491d8b3b695f6bdaa68afc277db5e5e773c2",
    "0008_rate_limits": "552dd272c8ab4a3906422166c1cdf1ddda2aa79a11551545410e93609eb3c1f5",
    "0009_steering": "a85523f34d65e786c3c044634def453faba9539e517eed559b76e4758d21956c",
    "0010_costs": "cd9a662609e76d8ed19696a46633d8f2ebc360e5b9033a0a284dc82ff966678f",
    "0011_job_indexes": "fa8d034bb7f83b20907f187fbed7cbb638fb5145095eb9feb01b775099b86e07",
    "0012_days": "7ff05c4e45603fce962ded01e820bfe1e4a664f05e72cc981cafc011a327df5f",
    "0013_line_of_time": "3495db712f370fb43f5cf1e6d681bba7e333b028d09832684accf9ca88984752",
    "0014_json_texts": "750e206d7e5e6c479f959a5cdd53ced68fdc6390bda4064826cebc5e309928ab",
    "0015_quiet_names": "cb47130d23b0e0fa200e5f935772ab88308bb0644217db0bea98eee51fa7b6e1",
    "0016_rare_runs": "c2cd322b7d755c140ec3c673bc02aadb6426ed760add143d9fbfbee935ea10bc",
}


def is_former(ledger: dict[int, tuple[str, str]]) -> bool:
    """Whether a ledger (number: name, checksum) is one from before the baseline, complete or not."""
    return bool(ledger) and set(dict(ledger.values()).items()) <= set(FORMER_MIGRATIONS.items())


def is_complete(ledger: dict[int, tuple[str, str]]) -> bool:
    """Whether every migration from before the baseline was applied, and no other."""
    return dict(ledger.values()) == FORMER_MIGRATIONS
