"""The dashboard and the alerts, against real scrapes: what their queries name exists."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest
import yaml
from calls import new, put
from raw_http import make_token
from served import Serving

from conveyor import Conveyor
from conveyor.autoscaler.plan import PoolCounts
from conveyor.autoscaler.state import ScalerState
from conveyor.autoscaler.status import ScalerNote, ScalerStatus, encode_note
from conveyor.store.protocol import Store
from conveyor.worker.metrics_exposition import WorkerExposition
from conveyor.worker.metrics_server import MetricsServer
from scrape import Scrape

sys.path.append(str(Path(__file__).parents[1] / "deploy"))
from monitoring import DEPLOY, dashboard_queries, rule_queries, selectors

DOCS = DEPLOY.parent / "docs"
# Prometheus adds these to what it scrapes.
ADDED = {"instance", "job"}


def scrape_worker() -> Scrape:
    """Return the metrics of a worker that has run one job."""
    belt = Conveyor("memory:")

    @belt.task(name="t")
    async def task() -> None: ...

    async def main() -> Scrape:
        async with asyncio.timeout(60), belt.worker(measured=True) as worker:
            await task.enqueue().await_final()
            assert worker.parts.metrics is not None
            render = WorkerExposition(worker.parts.metrics.read).render
            with MetricsServer("127.0.0.1", 0, render) as server:
                return await asyncio.to_thread(Scrape, f"http://127.0.0.1:{server.port}/metrics")

    found = asyncio.run(main())
    belt.close()
    return found


@pytest.fixture
def series(store: Store, server: Serving) -> dict[str, set[str]]:
    """Return the labels of each sample of a server and of a worker."""
    put(store, new(), capacity=5)
    pool = PoolCounts(pool="p", wanted=1)
    note = encode_note(ScalerNote(ScalerStatus(at=1.0, every=1.0, pools=(pool,)), ScalerState()))
    store.lead("scaler", "me", hold=60, note=note).result()
    of_server = Scrape(f"{server.url}/metrics", token=make_token(store, "read"))
    found: dict[str, set[str]] = {}
    for name, labels in [*of_server.samples, *scrape_worker().samples]:
        found.setdefault(name, set()).update(dict(labels))
    return found


@pytest.mark.parametrize("queries", [dashboard_queries, rule_queries])
def test_each_metric_and_label_that_a_query_names_is_scraped(
    series: dict[str, set[str]], queries: object
) -> None:
    assert callable(queries)
    named = [each for query in queries() for each in selectors(query)]
    assert len(named) > 10
    for each in named:
        assert each.name in series
        labels = {matcher.name for matcher in each.matchers.matchers}
        assert labels <= series[each.name] | ADDED


@pytest.mark.parametrize("queries", [dashboard_queries, rule_queries])
def test_what_a_query_groups_by_and_what_a_legend_shows_are_labels(
    series: dict[str, set[str]], queries: object
) -> None:
    assert callable(queries)
    known = set[str]().union(*series.values()) | ADDED
    for query in queries():
        for names in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
            assert {each.strip() for each in names.split(",")} <= known


def test_each_alert_is_explained_in_the_documentation() -> None:
    text = (DOCS / "monitoring.md").read_text()
    rules = yaml.safe_load((DEPLOY / "prometheus-rules.yaml").read_text())["groups"][0]["rules"]
    for rule in rules:
        assert f"`{rule['alert']}`" in text


def test_each_metric_is_in_the_documentation_and_each_there_is_scraped(
    series: dict[str, set[str]],
) -> None:
    text = (DOCS / "monitoring.md").read_text()
    documented = set(re.findall(r"^\| `(conveyor_\w+)`", text, re.MULTILINE))
    scraped = {
        re.sub(r"_(bucket|count|sum)$", "", name) if "_seconds" in name else name
        for name in series
        if name.startswith("conveyor_")
    }
    assert documented == scraped


def test_a_query_of_a_metric_that_is_not_there_is_found(series: dict[str, set[str]]) -> None:
    """The known-bad control of the tests above."""
    [wrong] = selectors('sum(conveyor_queue_depth{queue="a", shard="b"})')
    assert wrong.name not in series
    assert {each.name for each in wrong.matchers.matchers} - {"queue"} == {"shard"}
