"""Plans that are kept from when a table was empty must serve it when it has grown."""

from typing import Any

from tests.support.api import Api
from tests.support.store import Store

RECORD = """
mutation ($id: String!) {
  recordRuns(input: {runs: [{siteId: "berlin", appType: "chat", status: SUCCESS, externalId: $id}]}) {
    __typename
  }
}
"""
SCANNED = """
SELECT seq_tup_read FROM pg_stat_user_tables
WHERE schemaname = 'runglass' AND relname = 'run_external_ids'
"""


def test_a_report_looks_up_its_id_alone_though_no_id_was_known_at_first(api: Api, store: Store) -> None:
    def record(number: int) -> dict[str, Any]:
        return api.data(RECORD, {"id": f"x{number}"})

    for number in range(10):
        record(number)
    store.rows(
        "INSERT INTO runglass.run_external_ids (site_id, external_id, run_id, created_at)"
        " SELECT 'paris', 'y' || n, n, now() FROM generate_series(1, 5000) AS n"
    )
    before = _scanned(api, store)
    for number in range(10, 20):
        record(number)
    assert _scanned(api, store) - before < 5000


def _scanned(api: Api, store: Store) -> int:
    """Rows of the table that were read without an index so far, as the app's connections have told by now."""

    async def tell() -> None:
        async with api.app.state.database.connection() as connection:
            await connection.execute("SELECT pg_stat_force_next_flush()")

    for _ in range(3):
        api.runner.run(tell())
    return store.value(SCANNED)
