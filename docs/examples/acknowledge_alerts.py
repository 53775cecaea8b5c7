"""Acknowledge all pending alerts of an app, a hundred at a time.

    pip install 'gql[httpx]'
    RUNGLASS_URL=http://127.0.0.1:8000/graphql RUNGLASS_KEY=rg_… \
        python acknowledge_alerts.py mail "the mail provider was down"
"""

import argparse
import os
import sys

from gql import Client, gql
from gql.transport.httpx import HTTPXTransport

PENDING = gql("""
query Pending($filter: AlertFilter!) {
  alerts(filter: $filter, first: 100) { edges { node { id } } }
}
""")
ACKNOWLEDGE = gql("""
mutation Acknowledge($input: AlertsInput!) {
  ackAlerts(input: $input) {
    __typename
    ... on ChangedAlerts { count results { alertId refusal { code message } } }
    ... on Refusal { code message }
  }
}
""")


def main() -> int:
    """0 once none is pending, 1 where the server refused."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("app")
    arguments.add_argument("reason", help="for the audit log")
    given = arguments.parse_args()
    key = {"Authorization": f"Bearer {os.environ['RUNGLASS_KEY']}"}
    client = Client(transport=HTTPXTransport(os.environ["RUNGLASS_URL"], headers=key, timeout=60))
    PENDING.variable_values = {"filter": {"appType": given.app, "alertStatus": ["PENDING"]}}
    total = 0
    # Page by page by their ids: a filter that means more than 1,000 alerts is refused as a whole.
    while pages := client.execute(PENDING)["alerts"]["edges"]:
        ids = [edge["node"]["id"] for edge in pages]
        ACKNOWLEDGE.variable_values = {"input": {"alertIds": ids, "reason": given.reason}}
        answer = client.execute(ACKNOWLEDGE)["ackAlerts"]
        if answer["__typename"] != "ChangedAlerts":
            print(f"{answer['code']}: {answer['message']}", file=sys.stderr)
            return 1
        total += answer["count"]
    print(f"{total} alerts acknowledged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
