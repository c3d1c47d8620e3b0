"""What KEDA's custom resources may hold, as far as deploy/ uses them: a judge of its manifests.

Restated from the published definitions of KEDA 2.16.1 (config/crd/bases of kedacore/keda: names,
types, and what is required) and from its document on the scaler `metrics-api`. What stands within
a ScaledJob is a Job, and is judged as one by Kubernetes' own schema.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import kubernetes_validate
import msgspec
import yaml

VERSION = "1.32"
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A part of a resource. KEDA drops what it does not know; here that is refused."""


class Meta(Part, frozen=True):
    name: str
    namespace: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class AuthenticationRef(Part, frozen=True):
    name: str
    kind: Literal["TriggerAuthentication", "ClusterTriggerAuthentication"] | None = None


class MetricsApi(Part, frozen=True):
    """Every value is a text."""

    url: str
    value_location: str
    target_value: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)?$")]
    activation_target_value: str | None = None
    format: Literal["json", "xml", "yaml", "prometheus"] = "json"
    auth_mode: Literal["apiKey", "basic", "tls", "bearer"] | None = None
    unsafe_ssl: Literal["true", "false"] = "false"


class Trigger(Part, frozen=True):
    type: Literal["metrics-api"]
    metadata: MetricsApi
    name: str | None = None
    authentication_ref: AuthenticationRef | None = None
    use_cached_metrics: bool = False


class ObjectTrigger(Trigger, frozen=True):
    metric_type: Literal["AverageValue", "Value", "Utilization"] | None = None


class ScaleTargetRef(Part, frozen=True):
    name: str
    api_version: str | None = None
    kind: str | None = None
    env_source_container_name: str | None = None


class Fallback(Part, frozen=True):
    failure_threshold: Count
    replicas: Count


class ScaledObjectSpec(Part, frozen=True):
    scale_target_ref: ScaleTargetRef
    triggers: Annotated[list[ObjectTrigger], msgspec.Meta(min_length=1)]
    polling_interval: Count | None = None
    initial_cooldown_period: Count | None = None
    cooldown_period: Count | None = None
    idle_replica_count: Count | None = None
    min_replica_count: Count | None = None
    max_replica_count: Count | None = None
    fallback: Fallback | None = None


class ScalingStrategy(Part, frozen=True):
    strategy: Literal["default", "custom", "accurate", "eager"] | None = None
    custom_scaling_queue_length_deduction: Count | None = None
    custom_scaling_running_job_percentage: str | None = None
    pending_pod_conditions: list[str] = []
    multiple_scalers_calculation: Literal["max", "min", "avg", "sum"] | None = None


class Rollout(Part, frozen=True):
    strategy: Literal["default", "gradual"] | None = None
    propagation_policy: Literal["background", "foreground"] | None = None


class ScaledJobSpec(Part, frozen=True):
    job_target_ref: dict[str, Any]
    triggers: Annotated[list[Trigger], msgspec.Meta(min_length=1)]
    polling_interval: Count | None = None
    successful_jobs_history_limit: Count | None = None
    failed_jobs_history_limit: Count | None = None
    env_source_container_name: str | None = None
    min_replica_count: Count | None = None
    max_replica_count: Count | None = None
    rollout: Rollout | None = None
    scaling_strategy: ScalingStrategy | None = None


class SecretTargetRef(Part, frozen=True):
    parameter: str
    name: str
    key: str


class TriggerAuthenticationSpec(Part, frozen=True):
    secret_target_ref: Annotated[list[SecretTargetRef], msgspec.Meta(min_length=1)]


class Resource(Part, frozen=True, tag_field="kind"):
    api_version: Literal["keda.sh/v1alpha1"]
    metadata: Meta


class TriggerAuthentication(Resource, frozen=True, tag="TriggerAuthentication"):
    spec: TriggerAuthenticationSpec


class ScaledObject(Resource, frozen=True, tag="ScaledObject"):
    spec: ScaledObjectSpec


class ScaledJob(Resource, frozen=True, tag="ScaledJob"):
    spec: ScaledJobSpec


def resources(path: Path) -> list[TriggerAuthentication | ScaledObject | ScaledJob]:
    """Read a manifest of KEDA's resources; msgspec.ValidationError says what is wrong in it."""
    kinds = TriggerAuthentication | ScaledObject | ScaledJob
    return [
        msgspec.convert(each, kinds, strict=True) for each in yaml.safe_load_all(path.read_text())
    ]


def keda(path: Path) -> str:
    """Return what is wrong in a manifest, in words."""
    try:
        for each in resources(path):
            if isinstance(each, ScaledJob):
                job = {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "metadata": {"name": each.metadata.name},
                    "spec": each.spec.job_target_ref,
                }
                kubernetes_validate.validate(job, VERSION, strict=True)
    except (msgspec.ValidationError, kubernetes_validate.ValidationError) as error:
        return str(error)
    return ""
