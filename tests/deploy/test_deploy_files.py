"""The files in deploy/: each is passed by its tool, a broken copy is not; their numbers agree."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from keda import keda
from monitoring import grafana, prometheus_rules

from conveyor.core.duration import parse_duration
from conveyor.settings import SETTINGS
from conveyor.worker.health import FRESH

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TOOLS = Path(sys.executable).parent

# What a job that was told to stop gets at the most, and what the worker then takes to leave.
LEAVING = 4.0

# Said to systemdlint in its own way, which else asks the program `strings` for it.
SYSTEMD = "2.52"
# systemdlint 1.4 knows only signals here, where systemd.service(5) names exit codes as well. And a
# worker makes no cgroups, so none has to be delegated to it.
EXCUSED = ("SuccessExitStatus=75", "[Security.Delegate]")


def hadolint(path: Path) -> str:
    return complaints(TOOLS / "hadolint", "--no-color", path)


def compose_schema(path: Path) -> str:
    schema = "vendor.compose-spec"
    return complaints(TOOLS / "check-jsonschema", "--builtin-schema", schema, path)


def kubernetes_validate(path: Path) -> str:
    return complaints(TOOLS / "kubernetes-validate", "--quiet", "--strict", path)


def systemdlint(path: Path) -> str:
    ran = run(TOOLS / "systemdlint", "--norootfs", "--sversion", SYSTEMD, path)
    found = [line for line in ran.stderr.splitlines() if not any(text in line for text in EXCUSED)]
    return "\n".join(found)


def systemd_analyze(path: Path) -> str:
    # It looks for the program, so one that is there takes its place.
    text = path.read_text().replace("/opt/conveyor/bin/conveyor", sys.executable)
    path.write_text(text)
    ran = run("systemd-analyze", "verify", path)
    return ran.stderr if ran.returncode or path.name in ran.stderr else ""


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=120, check=False
    )


def complaints(*command: object) -> str:
    ran = run(*command)
    return f"{ran.stdout}{ran.stderr}" if ran.returncode else ""


class Check(NamedTuple):
    """A file, its tool, a fault (old text, new text) in it, and what the tool must say of that."""

    file: str
    tool: Callable[[Path], str]
    fault: tuple[str, str]
    said: str


CHECKS = [
    Check("Dockerfile", hadolint, ('ENTRYPOINT ["conveyor"]', "ENTRYPOINT conveyor"), "DL3025"),
    Check("Dockerfile", hadolint, ("HEALTHCHECK", "HEALTHCHEK"), "unexpected 'H'"),
    Check(
        "compose.yaml",
        compose_schema,
        ("stop_grace_period", "stop_grace_periods"),
        "'stop_grace_periods'",
    ),
    Check("compose.yaml", compose_schema, ('cap_drop: ["ALL"]', "cap_drop: ALL"), "cap_drop"),
    Check(
        "kubernetes.yaml",
        kubernetes_validate,
        ("PeriodSeconds: 35", "PeriodSeconds: 35s"),
        "terminationGracePeriodSeconds",
    ),
    Check(
        "kubernetes.yaml", kubernetes_validate, ("livenessProbe", "livenesProbe"), "livenesProbe"
    ),
    Check("agents.yaml", kubernetes_validate, ("matchLabels", "matchLabel"), "matchLabel"),
    Check("hpa.yaml", kubernetes_validate, ("averageValue", "avgValue"), "avgValue"),
    Check("scaler-role.yaml", kubernetes_validate, ("verbs", "verb"), "verb"),
    Check("keda-scaledobject.yaml", keda, ("maxReplicaCount: 20", "maxReplicas: 20"), "maxRepl"),
    Check("keda-scaledobject.yaml", keda, ('targetValue: "2"', "targetValue: 2"), "got `int`"),
    Check("keda-scaledobject.yaml", keda, ("parameter: token", "param: token"), "param"),
    Check("keda-scaledjob.yaml", keda, ("strategy: gradual", "strategy: slow"), "'slow'"),
    Check("keda-scaledjob.yaml", keda, ("restartPolicy", "restartsPolicy"), "restartsPolicy"),
    Check("grafana-dashboard.json", grafana, ('"targets"', '"target"'), "unknown 'target'"),
    Check("grafana-dashboard.json", grafana, ("sum(", "sum(("), "parenthesis"),
    Check("grafana-dashboard.json", grafana, ('"gridPos"', '"gridPosition"'), "gridPosition"),
    Check("prometheus-rules.yaml", prometheus_rules, ("for: 2m", "for: 2 minutes"), "for: "),
    Check("prometheus-rules.yaml", prometheus_rules, ("sum(max", "sum max"), "unexpected"),
    Check("prometheus-rules.yaml", prometheus_rules, ("expr:", "expression:"), "'expression'"),
    Check("prometheus-rules.yaml", prometheus_rules, ("unless sum", "unless total"), "total"),
    Check(
        "conveyor.service",
        systemdlint,
        ("Restart=on-failure", "Restart=on-failur"),
        "Restart=on-failur",
    ),
    Check(
        "conveyor.service", systemdlint, ("TimeoutStopSec", "TimeoutStopSecs"), "TimeoutStopSecs"
    ),
]
if shutil.which("systemd-analyze"):  # the judge itself, where it is at hand
    fault = "KillMode=mixed", "KillMode=mixd"
    CHECKS.append(Check("conveyor.service", systemd_analyze, fault, "mixd"))


def name(value: Any) -> str:
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(("file", "tool"), dict.fromkeys(check[:2] for check in CHECKS), ids=name)
def test_each_file_is_passed_by_its_tool(
    file: str, tool: Callable[[Path], str], tmp_path: Path
) -> None:
    shutil.copy(DEPLOY / file, tmp_path)
    assert tool(tmp_path / file) == ""


@pytest.mark.parametrize(
    "check", CHECKS, ids=[f"{name(each.tool)}: {each.fault[1]}" for each in CHECKS]
)
def test_a_broken_copy_is_refused_by_its_tool(check: Check, tmp_path: Path) -> None:
    text = (DEPLOY / check.file).read_text()
    assert check.fault[0] in text
    (tmp_path / check.file).write_text(text.replace(*check.fault))
    assert check.said in check.tool(tmp_path / check.file)


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["worker"]


def kubernetes() -> Any:
    _, deployment = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return deployment["spec"]


def container() -> Any:
    [only] = kubernetes()["template"]["spec"]["containers"]
    return only


class AgentPod(NamedTuple):
    """What the pod of an agent says of stopping."""

    drain: str
    grace: float


def agents() -> list[AgentPod]:
    [deployment] = yaml.safe_load_all((DEPLOY / "agents.yaml").read_text())
    [*_, scaled_job] = yaml.safe_load_all((DEPLOY / "keda-scaledjob.yaml").read_text())
    pods = [deployment["spec"]["template"], scaled_job["spec"]["jobTargetRef"]["template"]]
    return [
        AgentPod(
            option(pod["spec"]["containers"][0]["args"], "drain"),
            float(pod["spec"]["terminationGracePeriodSeconds"]),
        )
        for pod in pods
    ]


def option(args: list[str], name: str) -> str:
    [given] = [arg.partition("=")[2] for arg in args if arg.startswith(f"--{name}=")]
    return given


def unit() -> dict[str, str]:
    text = (DEPLOY / "conveyor.service").read_text()
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def time_to_stop(grace: float, before: float = 0.0) -> bool:
    """Whether a grace period is enough for a drain as it is by default."""
    return before + SETTINGS["drain"].default + LEAVING < grace


def test_every_grace_period_is_longer_than_the_drain_with_what_follows_it() -> None:
    lifecycle = container().get("lifecycle", {}).get("preStop", {})
    before = float(lifecycle.get("sleep", {}).get("seconds", 0.0))
    assert time_to_stop(parse_duration(compose()["stop_grace_period"]))
    spec = kubernetes()["template"]["spec"]
    assert time_to_stop(float(spec["terminationGracePeriodSeconds"]), before)
    assert time_to_stop(float(unit()["TimeoutStopSec"]))
    for agent in agents():
        assert parse_duration(agent.drain) + LEAVING < agent.grace
    # Docker's own 10 s would not do, and neither would a long sleep before the signal.
    assert not time_to_stop(10.0)
    assert not time_to_stop(35.0, before=10.0)


def test_nobody_is_given_up_while_its_health_file_is_still_called_fresh() -> None:
    # A probe fails once the file is too old; that three in a row take a while longer is patience.
    for probe in (container()["livenessProbe"], container()["startupProbe"]):
        assert probe["periodSeconds"] * probe["failureThreshold"] > FRESH
    assert float(unit()["WatchdogSec"]) > FRESH


def test_all_three_call_the_same_worker_and_the_same_probe() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert 'CMD ["conveyor", "doctor", "--quick"]' in dockerfile
    assert container()["livenessProbe"]["exec"]["command"] == ["conveyor", "doctor", "--quick"]
    assert compose()["command"] == container()["args"] == ["worker", "app:belt"]
    assert unit()["ExecStart"].endswith("conveyor worker app:belt")
    assert unit()["Environment"] == "CONVEYOR_URL=/var/lib/conveyor/jobs.db"
    assert "CONVEYOR_URL=/var/lib/conveyor/jobs.db" in dockerfile


def test_a_worker_is_nobody_special_in_any_of_them() -> None:
    user = kubernetes()["template"]["spec"]["securityContext"]
    assert user["runAsNonRoot"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in (DEPLOY / "Dockerfile").read_text()
    assert container()["securityContext"]["readOnlyRootFilesystem"]
    assert compose()["read_only"]
    assert unit()["User"] != "root"


def test_there_is_one_worker_on_one_database_file() -> None:
    assert kubernetes()["replicas"] == 1
    assert kubernetes()["strategy"]["type"] == "Recreate"
