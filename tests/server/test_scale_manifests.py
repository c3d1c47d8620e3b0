"""The manifests for external autoscalers, against a real server: their queries work.

Nothing here is KEDA or Kubernetes; `tests/deploy/` judges the form of the manifests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from calls import claim, new, put
from raw_http import RawClient, make_token
from served import Serving

from conveyor.cli.agent import agent_command
from conveyor.store.http.api import PREFIX
from conveyor.store.protocol import Store

DEPLOY = Path(__file__).parents[2] / "deploy"


class Scaled(NamedTuple):
    """A manifest's trigger, and the arguments of the agents that it scales."""

    trigger: dict[str, Any]
    args: list[str]

    def options(self, name: str) -> list[str]:
        return [each.partition("=")[2] for each in self.args if each.startswith(f"--{name}=")]


def read(file: str, kind: str) -> Any:
    every = yaml.safe_load_all((DEPLOY / file).read_text())
    [found] = [each for each in every if each["kind"] == kind]
    return found


def args(template: Any) -> list[str]:
    return list(template["spec"]["containers"][0]["args"])


def scaled(kind: str) -> Scaled:
    if kind == "ScaledObject":
        [trigger] = read("keda-scaledobject.yaml", kind)["spec"]["triggers"]
        return Scaled(trigger, args(read("agents.yaml", "Deployment")["spec"]["template"]))
    spec = read("keda-scaledjob.yaml", kind)["spec"]
    [trigger] = spec["triggers"]
    return Scaled(trigger, args(spec["jobTargetRef"]["template"]))


KINDS = pytest.mark.parametrize("kind", ["ScaledObject", "ScaledJob"])


@KINDS
def test_the_query_of_a_trigger_is_answered_with_waiting_and_running_jobs(
    kind: str, store: Store, server: Serving
) -> None:
    put(store, *(new(queue="builds", requires=("gpu",)) for _ in range(3)), new(queue="builds"))
    put(store, new(queue="builds", requires=("gpu", "big")))
    put(store, new(queue="other"))
    claim(store, queue="builds", labels=["gpu"])
    metadata = scaled(kind).trigger["metadata"]
    url = urlsplit(metadata["url"])
    ask = RawClient(server.url, make_token(store, "read", queues=["builds"]))
    answer = ask("GET", f"{url.path.removeprefix(PREFIX)}?{url.query}")
    assert url.path.startswith(f"{PREFIX}/")
    assert answer.status == 200
    assert answer.data[metadata["valueLocation"]] == 4


@KINDS
def test_a_trigger_queries_the_agents_that_it_scales(kind: str) -> None:
    found = scaled(kind)
    metadata = found.trigger["metadata"]
    query = parse_qs(urlsplit(metadata["url"]).query, strict_parsing=True)
    assert query == {
        "queue": found.options("queue"),
        "requires": [",".join(found.options("label"))],
    }
    assert metadata["targetValue"] == (found.options("concurrency") or ["1"])[0]
    [server] = found.options("server")
    assert metadata["url"].startswith(f"{server}{PREFIX}/scale?")


@KINDS
def test_a_trigger_sends_its_secret_as_a_bearer_token(kind: str) -> None:
    found = scaled(kind).trigger
    file = "keda-scaledobject.yaml" if kind == "ScaledObject" else "keda-scaledjob.yaml"
    guard = read(file, "TriggerAuthentication")
    assert found["metadata"]["authMode"] == "bearer"
    assert found["authenticationRef"]["name"] == guard["metadata"]["name"]
    assert [each["parameter"] for each in guard["spec"]["secretTargetRef"]] == ["token"]


@KINDS
def test_scaled_agents_are_started_with_existing_options(kind: str) -> None:
    command, *options = scaled(kind).args
    assert command == "agent"
    given = agent_command.make_context(command, options).params
    assert given["labels"] == ("gpu",)
    assert given["one_shot"] is (kind == "ScaledJob")


def test_one_job_has_one_agent_in_a_scaled_job() -> None:
    spec = read("keda-scaledjob.yaml", "ScaledJob")["spec"]
    # The number has to be the one that the strategy is made for.
    assert spec["scalingStrategy"]["strategy"] == "default"
    assert scaled("ScaledJob").trigger["metadata"]["valueLocation"] == "total"
    assert spec["jobTargetRef"]["backoffLimit"] == 0
    assert spec["rollout"]["strategy"] == "gradual"


def test_all_that_scale_the_deployment_scale_the_same() -> None:
    deployment = read("agents.yaml", "Deployment")
    hpa = read("hpa.yaml", "HorizontalPodAutoscaler")["spec"]
    keda = read("keda-scaledobject.yaml", "ScaledObject")["spec"]
    named = deployment["metadata"]["name"]
    assert hpa["scaleTargetRef"]["name"] == keda["scaleTargetRef"]["name"] == named
    [metric] = hpa["metrics"]
    [slots] = scaled("ScaledObject").options("concurrency")
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": slots}
    assert "replicas" not in deployment["spec"]
