"""Machines that are Jobs of Kubernetes, one each, by its API and a service account.

A Job's name is given here, so that one whose creation was not answered is not made twice, and found
by its labels. It runs its pod once: another agent is another machine.
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
from ..agent_launch import Launch, agent_args, agent_environment, new_machine_id, read_options
from ..fan_out import call_each, create_machines
from ..http_api import Answer, Api, Sleep, decoded, message, send_twice
from ..provider import Machine, MachineState, PoolSpec

MANAGED, OWNER = "app.kubernetes.io/managed-by", "conveyor-owner"
POOL, MACHINE = "conveyor-pool", "conveyor-machine"
SECRETS = "/run/conveyor"
PAGE, PAGES = 500, 200
# How often a list is begun anew when its pages have become too old to go on.
ANEW = 3
# How long a Job that has ended is kept, for those who want to see why, in seconds.
KEPT = 600


class KubernetesSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the API is, and the folder with the service account's files: token, ca.crt, namespace.

    `grace` is how long an agent may take to end, `timeout` how long an answer, in seconds.
    """

    api: str = "https://kubernetes.default.svc"
    account: str = "/var/run/secrets/kubernetes.io/serviceaccount"
    namespace: str = ""
    owner: str = "conveyor"
    grace: int = 35
    timeout: float = 30.0


class KubernetesOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pool says: the image, whose entry point is `conveyor` or else is given.

    `token_secret` is a Secret whose key `token` is the agents' token. `pod` goes into the pod's
    spec and `container` into its one container, in the words of the Kubernetes API.
    """

    image: str
    entrypoint: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    token_secret: str = ""
    pod: dict[str, Any] = {}
    container: dict[str, Any] = {}


class Condition(msgspec.Struct):
    """What a Job has come to."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class Status(msgspec.Struct):
    """How a Job goes."""

    active: int = 0
    ready: int = 0
    conditions: Sequence[Condition] = ()


class Meta(msgspec.Struct, rename="camel"):
    """What every object says of itself."""

    name: str = ""
    labels: dict[str, str] = {}
    creation_timestamp: dt.datetime | None = None
    deletion_timestamp: dt.datetime | None = None


class Job(msgspec.Struct):
    """A Job, as the API tells of it."""

    metadata: Meta
    status: Status = msgspec.field(default_factory=Status)


class ListMeta(msgspec.Struct):
    """Where a page of a list goes on."""

    onward: str = msgspec.field(name="continue", default="")


class Jobs(msgspec.Struct):
    """A page of the list."""

    metadata: ListMeta
    items: Sequence[Job]


class KubernetesProvider:
    """Jobs of one namespace."""

    def __init__(
        self, settings: KubernetesSettings, launch: Launch, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._settings, self._launch = settings, launch
        account = Path(settings.account)
        self._token = account / "token"
        namespace = settings.namespace or _text(account / "namespace")
        self._path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._api = Api(
            name=f"Kubernetes at {settings.api}",
            address=settings.api.rstrip("/"),
            connect=_connect(account / "ca.crt"),
            timeout=settings.timeout,
            busy=(429,),
            sleep=sleep,
        )

    async def create(self, pool: PoolSpec, count: int) -> Sequence[Machine]:
        """Create Jobs."""
        options = read_options(KubernetesOptions, pool.options, f"pool {pool.name}")
        return await create_machines(lambda: self._create(pool, options), count)

    async def destroy(self, ids: Collection[str]) -> None:
        """Delete Jobs; each is listed as stopping until its pod is gone, for the grace at most."""
        if ids:
            mine = await self.list()
            await call_each(self._delete, [each.id for each in mine if each.id in ids])

    async def list(self) -> Sequence[Machine]:
        """Return all Jobs of this owner, page by page; one that ended is gone."""
        for _ in range(ANEW):
            jobs = await self._pages()
            if jobs is not None:
                return [_machine(job) for job in jobs]
        raise UnavailableError(f"{self._api.name}: its list changes faster than it can be read")

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()

    async def _create(self, pool: PoolSpec, options: KubernetesOptions) -> Machine:
        machine = new_machine_id(pool)
        body = self._job(pool, options, machine)
        answer, sent_twice = await send_twice(lambda: self._ask("POST", self._path, body=body))
        if answer.status == 409 and sent_twice:
            answer = await self._ask("GET", f"{self._path}/{machine}")
        self._check(answer, (200, 201, 202), f"create a Job of pool {pool.name}")
        return msgspec.structs.replace(_machine(decoded(self._api, answer, Job)), state="starting")

    async def _delete(self, machine: str) -> None:
        # In the foreground: the Job stays until its pod is gone, so that nothing runs unseen.
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
        }
        answer = await self._ask("DELETE", f"{self._path}/{machine}", body=options)
        self._check(answer, (200, 202, 404), "delete a Job")

    async def _pages(self) -> Sequence[Job] | None:
        """Return all Jobs; None when the place to go on from was forgotten."""
        jobs: list[Job] = []
        onward = ""
        for _ in range(PAGES):
            params = {
                "labelSelector": f"{MANAGED}=conveyor,{OWNER}={self._settings.owner}",
                "limit": str(PAGE),
            }
            if onward:
                params["continue"] = onward
            answer = await self._ask("GET", self._path, params=params)
            if answer.status == 410:
                return None
            self._check(answer, (200,), "list Jobs")
            page = decoded(self._api, answer, Jobs)
            jobs += page.items
            onward = page.metadata.onward
            if not onward:
                return jobs
        raise UnavailableError(f"{self._api.name}: there are more than {PAGE * PAGES} Jobs")

    def _job(self, pool: PoolSpec, options: KubernetesOptions, machine: str) -> dict[str, object]:
        launch, pod, container = self._launch, dict(options.pod), dict(options.container)
        if options.token_secret:
            launch = msgspec.structs.replace(launch, token_file=f"{SECRETS}/token")
            volume = {
                "name": "conveyor",
                "secret": {"secretName": options.token_secret, "defaultMode": 0o444},
            }
            mount = {"name": "conveyor", "mountPath": SECRETS, "readOnly": True}
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
                "ttlSecondsAfterFinished": KEPT,
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer:
        # Read each time: it is replaced by a new one before it expires, within the hour.
        headers = {"Authorization": f"Bearer {_text(self._token)}"}
        return await self._api.ask(method, path, params=params, body=body, headers=headers)

    def _check(self, answer: Answer, good: Collection[int], what: str) -> None:
        if answer.status in good:
            return
        said = message(answer)
        text = f"{self._api.name} did not {what}: {answer.status}, {said}"
        # 401: the token was just replaced; 409: somebody was quicker. A full quota becomes free.
        passes = answer.status in (401, 409, 429) or answer.status >= 500
        if passes or (answer.status == 403 and "exceeded quota" in said):
            raise UnavailableError(text)
        if answer.status == 403:
            text += ". deploy/scaler-role.yaml is what the service account needs"
        raise UsageError(text)


def _machine(job: Job) -> Machine:
    state, detail = _state(job)
    began = job.metadata.creation_timestamp
    return Machine(
        id=job.metadata.name,
        pool=job.metadata.labels.get(POOL, ""),
        created_at=began.timestamp() if began else 0.0,
        state=state,
        detail=detail,
    )


def _state(job: Job) -> tuple[MachineState, str]:
    if job.metadata.deletion_timestamp is not None:
        return "stopping", ""
    for each in job.status.conditions:
        # Its pod has ended in both, and costs nothing.
        if each.type in ("Complete", "Failed") and each.status == "True":
            return "gone", " ".join(filter(None, (each.type, each.reason, each.message)))
    return ("running" if job.status.ready else "starting"), ""


def _connect(ca_file: Path) -> Callable[[], aiohttp.BaseConnector]:
    def connect() -> aiohttp.BaseConnector:
        try:
            context = ssl.create_default_context(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"{ca_file} cannot be read as certificates: {error}") from error
        return aiohttp.TCPConnector(ssl=context)

    return connect


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}. Is this a pod with a service account?"
        ) from error
