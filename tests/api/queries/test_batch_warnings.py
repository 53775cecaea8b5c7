"""isServed of an app and the warnings of a batch: who would run it, and whether its names are known."""

from __future__ import annotations

from typing import Any

from tests.api.mutations.test_confirm_batch import confirm
from tests.api.mutations.test_estimate_batch import estimate
from tests.support.api import Api
from tests.support.store import Store

WARNINGS = """
query ($id: ID!) { batch(id: $id) { apps { appType isServed } warnings { code message appType } } }
"""
CANCEL = "mutation ($id: ID!) { cancelBatch(input: {batchId: $id}) { __typename } }"
NOT_SERVED, NEVER_SEEN, NO_SITE = "APP_NOT_SERVED", "APP_NEVER_SEEN", "SITE_NEVER_SEEN"


def serve(store: Store, app: str, until: str = "1 hour") -> None:
    """Say what a worker says."""
    store.rows(
        "INSERT INTO runglass.served_apps VALUES (%s, now() + %s::interval)"
        " ON CONFLICT (app_type) DO UPDATE SET served_until = excluded.served_until",
        (app, until),
    )


def warned(api: Any, batch_id: str) -> list[tuple[str, str | None]]:
    found = api.data(WARNINGS, {"id": batch_id})["batch"]["warnings"]
    assert all(each["appType"] is None or each["appType"] in each["message"] for each in found)
    return [(each["code"], each["appType"]) for each in found]


def test_apps_that_nobody_serves_and_names_that_were_never_seen(api: Api, store: Store) -> None:
    store.run(site_id="berlin", app_type="chat")
    store.run(site_id="tokyo", app_type="tag")
    serve(store, "served")
    serve(store, "gone", "-1 second")
    apps = ["chat", "served", "gone", "tag"]
    batch_id = estimate(api, siteId="berlin", appTypes=apps)["id"]
    expected = [(NOT_SERVED, "chat"), (NOT_SERVED, "gone"), (NEVER_SEEN, "tag")]
    assert warned(api, batch_id) == expected
    # Folded into the roll-ups, runs are seen as well.
    store.rows("SELECT runglass.fold_run_log_deltas()")
    assert warned(api, batch_id) == expected
    shown = api.data(WARNINGS, {"id": batch_id})["batch"]["apps"]
    assert {app["appType"]: app["isServed"] for app in shown} == dict.fromkeys(apps, False) | {"served": True}

    confirm(api, batch_id)
    assert warned(api, batch_id) == expected
    serve(store, "chat")
    assert warned(api, batch_id) == expected[1:]


def test_a_site_that_was_never_seen(api: Api, store: Store) -> None:
    store.run(site_id="berlin")
    serve(store, "chat")
    batch_id = estimate(api, siteId="berlni")["id"]
    assert warned(api, batch_id) == [(NO_SITE, None)]
    store.run(site_id="berlni")
    assert warned(api, batch_id) == []


def test_runs_of_other_sites_tell_nothing(api: Api, store: Store) -> None:
    store.run(site_id="tokyo", app_type="secret")
    store.run(site_id="berlin")
    ours = api.as_key(role="operator", sites=["berlin"])
    batch_id = estimate(ours, siteId="berlin", appTypes=["secret"])["id"]
    assert warned(ours, batch_id) == [(NEVER_SEEN, "secret")]


def test_a_batch_that_has_ended_has_no_warnings(api: Api, store: Store) -> None:
    expired, cancelled = (estimate(api)["id"] for _ in range(2))
    assert warned(api, cancelled) == [(NO_SITE, None), (NEVER_SEEN, "chat")]
    api.data(CANCEL, {"id": cancelled})
    store.rows("UPDATE runglass.batches SET expires_at = now() WHERE status = 'estimated'")
    assert warned(api, expired) == warned(api, cancelled) == []


def test_one_estimate_and_many_take_the_same_number_of_statements(api: Api, store: Store) -> None:
    many = "{ batches(first: %d) { edges { node { apps { isServed } warnings { code } } } } }"
    for number in range(12):
        estimate(api, siteId=f"site{number}", appTypes=[f"app{number}", "chat"])
    assert api.statements(many % 1) == api.statements(many % 12)
