"""What is special about tests of running jobs."""

import pytest

from tests.support.api import Api


@pytest.fixture
def api(api: Api) -> Api:
    """The app; a query is asked once, as jobs that run change the answer from one moment to the next."""
    api.asks_twice = False
    return api
