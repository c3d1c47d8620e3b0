"""Judges Grafana's dashboard and Prometheus' rules: their form, and every query in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

DEPLOY = Path(__file__).parents[2] / "deploy"
# What a rule of Prometheus may have: https://prometheus.io/docs/prometheus/latest/configuration
GROUP = {"name", "interval", "query_offset", "limit", "labels", "rules"}
ALERT = {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
# Variables of Grafana where Prometheus has a duration.
RATE_INTERVAL = "$__rate_interval"


def grafana(path: Path) -> str:
    """Return what Grafana's own types do not know of a dashboard, and its queries that fail."""
    given = json.loads(path.read_text())
    try:
        read = json.loads(JSONEncoder().encode(Dashboard.from_json(given)))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return "\n".join([*_lost(given, read, "dashboard"), *_faults(dashboard_queries(path))])


def prometheus_rules(path: Path) -> str:
    """Return what is wrong with a file of alert rules."""
    found: list[str] = []
    file = yaml.safe_load(path.read_text())
    found += [f"unknown {name!r}" for name in file if name != "groups"]
    for group in file["groups"]:
        found += [f"{group['name']}: unknown {name!r}" for name in group.keys() - GROUP]
        for rule in group["rules"]:
            name = rule.get("alert", "a rule without a name")
            found += [f"{name}: unknown {field!r}" for field in rule.keys() - ALERT]
            if not {"alert", "expr", "labels", "annotations"} <= rule.keys():
                found.append(f"{name}: something is missing")
            if "for" in rule:
                try:
                    promql_parser.parse_duration(rule["for"])
                except ValueError as error:
                    found.append(f"{name}: for: {error}")
    return "\n".join([*found, *_faults(rule_queries(path))])


def dashboard_queries(path: Path = DEPLOY / "grafana-dashboard.json") -> list[str]:
    """Return the queries of a dashboard as Prometheus gets them."""
    panels = json.loads(path.read_text())["panels"]
    targets = [each for panel in panels for each in panel.get("targets", ())]
    return [each["expr"].replace(RATE_INTERVAL, "1m") for each in targets]


def rule_queries(path: Path = DEPLOY / "prometheus-rules.yaml") -> list[str]:
    """Return the queries of a file of rules."""
    groups = yaml.safe_load(path.read_text())["groups"]
    return [rule.get("expr", "") for group in groups for rule in group["rules"]]


def selectors(query: str) -> Iterator[promql_parser.VectorSelector]:
    """Yield the selectors of a query: each names a metric and labels."""
    found: list[promql_parser.VectorSelector] = []

    def look(expr: promql_parser.Expr) -> bool:
        if isinstance(expr, promql_parser.VectorSelector):
            found.append(expr)
        elif isinstance(expr, promql_parser.MatrixSelector):
            found.append(expr.vector_selector)
        return True

    promql_parser.walk(promql_parser.parse(query), look)
    yield from found


def _faults(queries: list[str]) -> Iterator[str]:
    for query in queries:
        try:
            promql_parser.parse(query)
        except ValueError as error:
            yield f"{query}: {error}"


def _lost(given: Any, read: Any, where: str) -> Iterator[str]:
    """Yield what of a document was not read: fields that the types do not have."""
    if isinstance(given, dict):
        for name, value in given.items():
            if not isinstance(read, dict) or name not in read:
                if value not in (None, [], {}):
                    yield f"{where}: unknown {name!r}"
            else:
                yield from _lost(value, read[name], f"{where}.{name}")
    elif isinstance(given, list):
        for number, value in enumerate(given):
            yield from _lost(value, read[number], f"{where}[{number}]")
    elif given != read:
        yield f"{where}: {given!r} is read as {read!r}"
