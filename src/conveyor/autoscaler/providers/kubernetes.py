"""Machines that are Jobs of Kubernetes, by its API and a service account.

Names are assigned here, so that repeating a request creates no second Job; Jobs are found by their
labels. A Job runs its pod once: another agent is another machine.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from ...errors import UnavailableError, UsageError
from ..agent_launch import (
    AgentLaunch,
    agent_args,
    agent_environment,
    convert_options,
    new_machine_id,
)
from ..fan_out import call_each, create_machines
from ..http_api import (
    ApiResponse,
    HttpApi,
    Sleep,
    decode_response,
    error_message,
    send_twice,
)
from ..provider import Machine, PoolSpec, ProvisioningState

MANAGED, OWNER = "app.kubernetes.io/managed-by", "conveyor-owner"
POOL, MACHINE = "conveyor-pool", "conveyor-machine"
SECRETS_PATH = "/run/conveyor"
PAGE_SIZE, MAX_PAGES = 500, 200
# How often a list is read from its beginning when its continue token has expired.
LIST_ATTEMPTS = 3
# How long finished Jobs are kept for `kubectl logs`, in seconds.
KEEP_FINISHED = 600


class KubernetesSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """URL of the API, and the directory of the service account: token, ca.crt, namespace.

    `grace` is the time between SIGTERM and SIGKILL, `timeout` that of a request, in seconds.
    """

    api: str = "https://kubernetes.default.svc"
    account: str = "/var/run/secrets/kubernetes.io/serviceaccount"
    namespace: str = ""
    owner: str = "conveyor"
    grace: int = 35
    timeout: float = 30.0


class KubernetesOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a pool: the image, and its entry point unless that is `conveyor`.

    `token_secret` is a Secret whose key `token` holds the agents' token. `pod` is merged into the
    pod's spec and `container` into its one container, in the terms of the Kubernetes API.
    """

    image: str
    entrypoint: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    token_secret: str = ""
    pod: dict[str, Any] = {}
    container: dict[str, Any] = {}


class JobCondition(msgspec.Struct):
    """A condition of a Job."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class JobStatus(msgspec.Struct):
    """The status of a Job."""

    active: int = 0
    ready: int = 0
    conditions: Sequence[JobCondition] = ()


class ObjectMeta(msgspec.Struct, rename="camel"):
    """The metadata of an object."""

    name: str = ""
    labels: dict[str, str] = {}
    creation_timestamp: dt.datetime | None = None
    deletion_timestamp: dt.datetime | None = None


class KubernetesJob(msgspec.Struct):
    """A Job in responses of the API."""

    metadata: ObjectMeta
    status: JobStatus = msgspec.field(default_factory=JobStatus)


class ListMeta(msgspec.Struct):
    """The metadata of a list: the token of the next page."""

    next_page: str = msgspec.field(name="continue", default="")


class JobList(msgspec.Struct):
    """A page of Jobs."""

    metadata: ListMeta
    items: Sequence[KubernetesJob]


class KubernetesProvider:
    """The Jobs of one namespace."""

    def __init__(
        self, settings: KubernetesSettings, launch: AgentLaunch, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._settings, self._launch = settings, launch
        account = Path(settings.account)
        self._token = account / "token"
        namespace = settings.namespace or _read_text(account / "namespace")
        self._path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._api = HttpApi(
            name=f"Kubernetes at {settings.api}",
            address=settings.api.rstrip("/"),
            connect=_connector(account / "ca.crt"),
            timeout=settings.timeout,
            busy=(429,),
            sleep=sleep,
        )

    async def create(self, pool: PoolSpec, count: int) -> Sequence[Machine]:
        """Create Jobs."""
        options = convert_options(KubernetesOptions, pool.options, f"pool {pool.name}")
        return await create_machines(lambda: self._create(pool, options), count)

    async def destroy(self, ids: Collection[str]) -> None:
        """Delete Jobs. Each is listed as stopping until its pod is gone."""
        if ids:
            owned = await self.list()
            await call_each(self._delete, [each.id for each in owned if each.id in ids])

    async def list(self) -> Sequence[Machine]:
        """Return all Jobs of this owner; finished ones are "gone"."""
        for _ in range(LIST_ATTEMPTS):
            jobs = await self._read_pages()
            if jobs is not None:
                return [_machine(job) for job in jobs]
        raise UnavailableError(
            f"{self._api.name}: the list of Jobs expired {LIST_ATTEMPTS} times while it was read"
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def _create(self, pool: PoolSpec, options: KubernetesOptions) -> Machine:
        machine = new_machine_id(pool)
        body = self._job(pool, options, machine)
        response, sent_twice = await send_twice(
            lambda: self._request("POST", self._path, body=body)
        )
        if response.status == 409 and sent_twice:
            response = await self._request("GET", f"{self._path}/{machine}")
        self._check(response, (200, 201, 202), f"create a Job of pool {pool.name}")
        return msgspec.structs.replace(
            _machine(decode_response(self._api, response, KubernetesJob)), state="starting"
        )

    async def _delete(self, machine: str) -> None:
        # In the foreground, so that the Job is listed until its pod is gone.
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
        }
        response = await self._request("DELETE", f"{self._path}/{machine}", body=options)
        self._check(response, (200, 202, 404), "delete a Job")

    async def _read_pages(self) -> Sequence[KubernetesJob] | None:
        """Return all Jobs; None if the continue token has expired."""
        jobs: list[KubernetesJob] = []
        next_page = ""
        for _ in range(MAX_PAGES):
            params = {
                "labelSelector": f"{MANAGED}=conveyor,{OWNER}={self._settings.owner}",
                "limit": str(PAGE_SIZE),
            }
            if next_page:
                params["continue"] = next_page
            response = await self._request("GET", self._path, params=params)
            if response.status == 410:
                return None
            self._check(response, (200,), "list Jobs")
            page = decode_response(self._api, response, JobList)
            jobs += page.items
            next_page = page.metadata.next_page
            if not next_page:
                return jobs
        raise UnavailableError(
            f"{self._api.name}: there are more than {PAGE_SIZE * MAX_PAGES} Jobs"
        )

    def _job(self, pool: PoolSpec, options: KubernetesOptions, machine: str) -> dict[str, object]:
        launch, pod, container = self._launch, dict(options.pod), dict(options.container)
        if options.token_secret:
            launch = msgspec.structs.replace(launch, token_file=f"{SECRETS_PATH}/token")
            volume = {
                "name": "conveyor",
                "secret": {"secretName": options.token_secret, "defaultMode": 0o444},
            }
            mount = {"name": "conveyor", "mountPath": SECRETS_PATH, "readOnly": True}
            pod["volumes"] = [*pod.get("volumes", []), volume]
            container["volumeMounts"] = [*container.get("volumeMounts", []), mount]
        env = {**options.env, **agent_environment(launch, machine)}
        if options.entrypoint:
            container["command"] = list(options.entrypoint)
        agent = {
            **container,
            "name": "agent",
            "image": options.image,
            "args": agent_args(launch, pool, machine, options.args),
            "env": [{"name": name, "value": value} for name, value in env.items()],
        }
        labels = {
            MANAGED: "conveyor",
            OWNER: self._settings.owner,
            POOL: pool.name,
            MACHINE: machine,
        }
        spec = {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": self._settings.grace,
            **pod,
            "restartPolicy": "Never",
            "containers": [agent],
        }
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": machine, "labels": labels},
            "spec": {
                "backoffLimit": 0,
                "ttlSecondsAfterFinished": KEEP_FINISHED,
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
    ) -> ApiResponse:
        # Read each time, because the token is rotated within the hour.
        headers = {"Authorization": f"Bearer {_read_text(self._token)}"}
        return await self._api.request(method, path, params=params, body=body, headers=headers)

    def _check(self, response: ApiResponse, good: Collection[int], what: str) -> None:
        if response.status in good:
            return
        message = error_message(response)
        text = f"{self._api.name} could not {what}: {response.status}, {message}"
        # 401: the token was just rotated; 409: a concurrent change; a quota may have room later.
        is_temporary = response.status in (401, 409, 429) or response.status >= 500
        if is_temporary or (response.status == 403 and "exceeded quota" in message):
            raise UnavailableError(text)
        if response.status == 403:
            text += "; the service account needs the role in deploy/scaler-role.yaml"
        raise UsageError(text)


def _machine(job: KubernetesJob) -> Machine:
    state, detail = _state(job)
    created = job.metadata.creation_timestamp
    return Machine(
        id=job.metadata.name,
        pool=job.metadata.labels.get(POOL, ""),
        created_at=created.timestamp() if created else 0.0,
        state=state,
        detail=detail,
    )


def _state(job: KubernetesJob) -> tuple[ProvisioningState, str]:
    if job.metadata.deletion_timestamp is not None:
        return "stopping", ""
    for each in job.status.conditions:
        # In both its pod has ended and costs nothing.
        if each.type in ("Complete", "Failed") and each.status == "True":
            return "gone", " ".join(filter(None, (each.type, each.reason, each.message)))
    return ("running" if job.status.ready else "starting"), ""


def _connector(ca_file: Path) -> Callable[[], aiohttp.BaseConnector]:
    def connect() -> aiohttp.BaseConnector:
        try:
            context = ssl.create_default_context(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"cannot read certificates from {ca_file}: {error}") from error
        return aiohttp.TCPConnector(ssl=context)

    return connect


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read {path}: {error}; is this a pod with a service account?"
        ) from error
