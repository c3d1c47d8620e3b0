"""The image is really built, by buildah, and its worker really stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from namespace import First

from conveyor import Conveyor, State

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BASE, IMAGE = "localhost/conveyor-drill-base", "localhost/conveyor-drill"
NEEDED = ("buildah", "debootstrap", "unshare")
SUITE, PYTHON = "bookworm", "3.11"

APP = """
from conveyor import Conveyor
belt = Conveyor()
queue = belt.queue("q")
"""
Until = Callable[[Callable[[], object]], None]


def run(*command: object, timeout: float = 900) -> str:
    words = [str(part) for part in command]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    assert ran.returncode == 0, f"{' '.join(words)}\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image of deploy/Dockerfile, on a base that stands in for the official one."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing or os.geteuid():
        pytest.fail(
            f"the image cannot be built here: missing {missing}, user id {os.geteuid()}. Be root, "
            "and apt-get install buildah debootstrap."
        )
    folder = tmp_path_factory.mktemp("image")
    try:
        make_base(folder)
        build(folder)
        yield IMAGE
    finally:
        subprocess.run(["buildah", "rmi", "--force", IMAGE, BASE], check=False, capture_output=True)


def make_base(folder: Path) -> None:
    """Make an image of Debian with its Python, as no registry of images is asked."""
    tree = folder / "tree"
    packages = "python3,python3-venv"
    run("debootstrap", "--variant=minbase", f"--include={packages}", SUITE, tree)
    container = run("buildah", "from", "scratch").strip()
    run("buildah", "add", container, tree, "/")
    run("buildah", "commit", "--rm", container, BASE)
    shutil.rmtree(tree)


def build(folder: Path) -> None:
    """Build with wheels that were fetched outside: inside, nothing is known of an index."""
    wheels, pip = folder / "wheels", folder / "pip.conf"
    run(sys.executable, "-m", "venv", folder / "venv")
    run(
        folder / "venv" / "bin" / "pip", "download", "--quiet", "--require-hashes",
        "--only-binary=:all:", "--python-version", PYTHON,
        "--requirement", ROOT / "requirements-run.txt", "--dest", wheels,
    )  # fmt: skip
    pip.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    run(
        "buildah", "build", "--isolation", "chroot", "--format", "docker",
        "--build-arg", f"BASE={BASE}", "--pull-never",
        "--volume", f"{wheels}:/wheels:ro", "--volume", f"{pip}:/etc/pip.conf:ro",
        "--ignorefile", ROOT / "deploy" / "Dockerfile.dockerignore",
        "--file", ROOT / "deploy" / "Dockerfile", "--tag", IMAGE, ROOT,
    )  # fmt: skip


@contextmanager
def mounted(image: str) -> Iterator[Path]:
    """Make a container of the image, and return where its files are."""
    container = run("buildah", "from", "--pull-never", image).strip()
    try:
        yield Path(run("buildah", "mount", container).strip())
    finally:
        run("buildah", "rm", container)


def configuration(image: str) -> dict[str, Any]:
    found = json.loads(run("buildah", "inspect", "--type", "image", image))
    config: dict[str, Any] = found["Docker"]["config"]
    return config


def test_the_image_says_what_a_runtime_has_to_know(image: str) -> None:
    config = configuration(image)
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["conveyor"]
    assert config["Healthcheck"]["Test"] == ["CMD", "conveyor", "doctor", "--quick"]
    assert "/var/lib/conveyor" in config["Volumes"]


class Container:
    """The image's files with an application, and its command as PID 1 with its user and words."""

    def __init__(self, root: Path, image: str, folder: Path) -> None:
        self.root = root
        self._folder = folder
        config = configuration(image)
        self._user = ["--userspec", config["User"]]
        self._words = ["env", "-i", "-C", config["WorkingDir"], *config["Env"]]
        self._entry = config["Entrypoint"]
        (root / "app" / "app.py").write_text(APP)

    def start(self, *args: str) -> First:
        """Start it: what the runtime would do is /proc, the root, the user, and no shell."""
        runtime = 'mount -t proc proc "$0/proc" && exec chroot "$@"'
        command = ["sh", "-c", runtime, str(self.root), *self._user, str(self.root)]
        return First([*command, *self._words, *self._entry, *args], cwd=self._folder)

    def inside(self, first: First, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the running container, as `docker exec` and probes do."""
        enter = ["nsenter", "--target", str(first.pid), "--pid", "--mount", "--root"]
        words = [*enter, "chroot", *self._user, "/", *self._words, *args]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("seconds", "flags", "code", "state"),
    [("1", [], 0, State.COMPLETED), ("60", ["--drain", "0.5"], 75, State.AVAILABLE)],
    ids=["in time", "released"],
)
def test_its_worker_is_stopped_by_a_signal_and_says_how(
    seconds: str,
    flags: list[str],
    code: int,
    state: State,
    image: str,
    tmp_path: Path,
    until: Until,
) -> None:
    with mounted(image) as root:
        container = Container(root, image, tmp_path)
        with container.start("worker", "app:belt", *flags) as first:
            until((root / "tmp" / "conveyor-health.json").exists)
            probed = container.inside(first, "conveyor", "doctor", "--quick", "--ready")
            assert probed.returncode == 0, probed.stderr
            # Made by the worker, so that it is the worker's own.
            belt = Conveyor(root / "var" / "lib" / "conveyor" / "jobs.db")
            command = "touch /tmp/began; exec sleep " + seconds
            job = belt.command("sh", "-c", command, queue="q").enqueue()
            until((root / "tmp" / "began").exists)
            owner = (root / "tmp" / "began").stat().st_uid
            first.send(signal.SIGTERM)
            assert first.wait() == code, first.said
        assert job.refresh().state is state
        assert owner == 10001
        belt.close()
