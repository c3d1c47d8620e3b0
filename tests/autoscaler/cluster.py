"""A Kubernetes API for tests, over TLS: Jobs of one namespace, and no more.

Written from the published API reference (batch/v1, DeleteOptions, Status, paged lists); a Job is
judged by the published schemas, strictly. Whatever a request has that is not documented is kept in
`wrong`, which a test has to find empty.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import re
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import kubernetes_validate
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

VERSION = "1.32"
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
LIST = {"labelSelector", "fieldSelector", "limit", "continue"}
DELETE = {
    "apiVersion": {"v1", "batch/v1"},
    "kind": {"DeleteOptions"},
    "propagationPolicy": {"Orphan", "Background", "Foreground"},
}
PEM = serialization.Encoding.PEM


class Cluster:
    """The API. `faults` say what becomes of the next requests with a method."""

    def __init__(self, folder: Path, *, namespace: str = "farm") -> None:
        self.namespace, self.token = namespace, "first"
        self.account = folder / "account"
        self.account.mkdir()
        self._cert, self._key = _certificate(folder)
        (self.account / "ca.crt").write_bytes(self._cert.read_bytes())
        (self.account / "namespace").write_text(namespace)
        self.give_token("first")
        self.jobs: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.largest = 500
        # method -> what happens next time: "lose" an answer, or status, reason and message
        self.faults: dict[str, list[str | tuple[int, str, str]]] = {}
        self.url = ""

    def give_token(self, token: str) -> None:
        """Have another token in the account's file, and know no other."""
        self.token = token
        (self.account / "token").write_text(f"{token}\n")

    def settle(self) -> None:
        """Have the pods of deleted Jobs end."""
        kept = self.jobs.items()
        self.jobs = {k: job for k, job in kept if "deletionTimestamp" not in job["metadata"]}

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._judge])
        jobs = "/apis/batch/v1/namespaces/{namespace}/jobs"
        app.router.add_get(jobs, self._list, allow_head=False)
        app.router.add_post(jobs, self._create)
        app.router.add_get(jobs + "/{name}", self._get, allow_head=False)
        app.router.add_delete(jobs + "/{name}", self._delete)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._cert, self._key)
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _judge(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.asked.append(request.method)
        if "application/json" not in request.headers.get("Accept", ""):
            self.wrong.append(f"{request.path} accepts {request.headers.get('Accept')}")
        if request.can_read_body and request.content_type != "application/json":
            self.wrong.append(f"{request.path} sends {request.content_type}")
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        namespace = request.match_info.get("namespace", self.namespace)
        if namespace != self.namespace:
            return _status(403, "Forbidden", f'cannot use jobs in the namespace "{namespace}"')
        faults = self.faults.get(request.method, [])
        fault = faults.pop(0) if faults else None
        if isinstance(fault, tuple):
            return _status(*fault)
        try:
            given = await handler(request)
        except web.HTTPException as error:
            self.wrong.append(f"{request.method} {request.path_qs} is not documented")
            return _status(error.status, "NotFound", "the server could not find the resource")
        if fault == "lose":
            assert request.transport is not None
            request.transport.abort()
        return given

    async def _list(self, request: web.Request) -> web.Response:
        self.wrong += [f"list: {name}" for name in set(request.query) - LIST]
        wanted = _selector(request.query.get("labelSelector", ""))
        fitting = [
            (name, job)
            for name, job in sorted(self.jobs.items())
            if wanted.items() <= job["metadata"]["labels"].items()
        ]
        onward = request.query.get("continue", "")
        if onward:
            after = base64.urlsafe_b64decode(onward).decode()
            fitting = [(name, job) for name, job in fitting if name > after]
        limit = min(int(request.query.get("limit", "0")) or self.largest, self.largest)
        page, rest = fitting[:limit], fitting[limit:]
        meta: dict[str, Any] = {"resourceVersion": "1"}
        if rest:
            meta["continue"] = base64.urlsafe_b64encode(page[-1][0].encode()).decode()
            meta["remainingItemCount"] = len(rest)
        items = [job for _, job in page]
        return web.json_response(
            {"kind": "JobList", "apiVersion": "batch/v1", "metadata": meta, "items": items}
        )

    async def _create(self, request: web.Request) -> web.Response:
        self.wrong += [f"create: {name}" for name in request.query]
        job = await request.json()
        try:
            kubernetes_validate.validate(job, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            self.wrong.append(f"create: {error.message}")
        name, labels = job["metadata"]["name"], job["metadata"]["labels"]
        template = job["spec"]["template"]
        for key, value in [*labels.items(), *template["metadata"]["labels"].items()]:
            if not KEY.fullmatch(key) or not VALUE.fullmatch(value):
                self.wrong.append(f"create: label {key}={value}")
        if not NAME.fullmatch(name):
            return _status(422, "Invalid", f"Job {name!r} is invalid: metadata.name")
        if template["spec"].get("restartPolicy") not in ("Never", "OnFailure"):
            return _status(422, "Invalid", "spec.template.spec.restartPolicy: Required value")
        if name in self.jobs:
            return _status(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        job["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": "2026-11-01T12:00:00Z"}
        job["status"] = {}
        self.jobs[name] = job
        return web.json_response(job, status=201)

    async def _get(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.jobs:
            return _status(404, "NotFound", f'jobs.batch "{name}" not found')
        return web.json_response(self.jobs[name])

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.wrong += [f"delete: {each}" for each in request.query]
        options = await request.json()
        for key, value in options.items():
            if value not in DELETE.get(key, set()):
                self.wrong.append(f"delete: {key}={value}")
        if name not in self.jobs:
            return _status(404, "NotFound", f'jobs.batch "{name}" not found')
        policy = options.get("propagationPolicy")
        if policy == "Foreground":
            now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            meta = self.jobs[name]["metadata"]
            meta |= {"deletionTimestamp": now, "finalizers": ["foregroundDeletion"]}
            return web.json_response(self.jobs[name])
        if policy != "Background":
            self.wrong.append(f"delete leaves the pod of {name} running")
        job = self.jobs.pop(name)
        details = {"name": name, "group": "batch", "kind": "jobs", "uid": job["metadata"]["uid"]}
        return web.json_response(
            {"kind": "Status", "apiVersion": "v1", "status": "Success", "details": details}
        )


def _selector(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split(",") if part)


def _status(code: int, reason: str, message: str) -> web.Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    headers = {"Retry-After": "3"} if code == 429 else {}
    return web.json_response(body, status=code, headers=headers)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cluster")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    cert, private = folder / "cluster.pem", folder / "cluster-key.pem"
    cert.write_bytes(made.public_bytes(PEM))
    kept = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(PEM, *kept))
    return cert, private
