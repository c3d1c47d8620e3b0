"""Scrapes metrics over HTTP and reads them with the parser of Prometheus' own library."""

from __future__ import annotations

import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Scrape:
    """One scrape. A sample is found by its name and its labels."""

    def __init__(self, url: str, *, token: str = "", accept: str = "") -> None:
        request = urllib.request.Request(url)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        if accept:
            request.add_header("Accept", accept)
        with urllib.request.urlopen(request, timeout=20) as answer:
            self.media = answer.headers["Content-Type"]
            self.text = answer.read().decode()
        read = read_openmetrics if "openmetrics" in self.media else text_string_to_metric_families
        self.families = {each.name: each for each in read(self.text)}
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in self.families.values():
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self.samples, f"{key} is there twice"
                self.samples[key] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]

    def values(self, name: str, label: str) -> set[str]:
        """Return the values of a label in all samples of a name."""
        found: set[str] = set()
        for known, labels in self.samples:
            if known == name:
                found.add(dict(labels)[label])
        return found

    @property
    def names(self) -> set[str]:
        """The names of all samples."""
        return {name for name, _ in self.samples}
