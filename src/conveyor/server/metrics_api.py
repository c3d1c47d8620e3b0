"""The handler of the metrics for Prometheus, as far as the token may see them."""

from __future__ import annotations

from starlette.responses import Response

from ..store.http import payloads
from ..store.http.problems import problem
from ..store.protocol import Store
from .http_io import PiecewiseResponse, ProblemError
from .metrics_snapshot import read_store
from .request import ApiRequest

NOT_INSTALLED = (
    "metrics need prometheus-client on the server: install it there with "
    "`pip install conveyor[metrics]`"
)


class MetricsApi:
    """Answers the call `metrics`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def metrics(self, request: ApiRequest) -> Response:
        """Return the metrics in the format that the scraper accepts."""
        try:
            # An optional library, which takes a while to import.
            from .metrics_exposition import render  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ProblemError(problem("not_installed", NOT_INSTALLED)) from error
        query: payloads.MetricsQuery = request.body
        scalers = list(dict.fromkeys(filter(None, query.scalers.split(","))))
        snapshot = await read_store(self._store, request.principal, scalers)
        text, media = render(snapshot, request.http.headers.get("accept", ""))
        return PiecewiseResponse(text, media_type=media)
