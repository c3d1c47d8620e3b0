"""A PgBouncer in transaction mode for the long drills: an installed one, or Debian's package."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg

# Its own package, and the libraries of it that a machine may lack.
PACKAGES = ("pgbouncer", "libc-ares2", "libevent-2.1-7")
PORT = 6432
START_LIMIT = 60.0
INI = """
[databases]
* = host={server} port=5432
[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 20
max_client_conn = 500
"""


class PgBouncer:
    """A PgBouncer in `folder`, in front of the server with a unix socket in `server`."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.url = f"postgresql://postgres@/postgres?host={folder}&port={PORT}"
        self.how: dict[str, object] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.how = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        binary, libraries = find_pgbouncer(folder)
        environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
        (folder / "users").write_text('"postgres" ""\n')
        ini = folder / "pgbouncer.ini"
        ini.write_text(INI.format(folder=folder, server=server, port=PORT))
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [binary, ini],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                **self.how,  # type: ignore[call-overload]
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.01)
            else:
                return

    def stop(self) -> None:
        """Stop at once."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def find_pgbouncer(folder: Path) -> tuple[Path, Path]:
    """Return the program and the folder of its libraries; FileNotFoundError if there is none."""
    installed = os.environ.get("CONVEYOR_TEST_PGBOUNCER") or shutil.which(
        "pgbouncer", path=os.environ["PATH"] + ":/usr/sbin"
    )
    if installed:
        return Path(installed), folder
    unpacked, fetched = folder / "unpacked", folder / "packages"
    fetched.mkdir()
    try:
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=fetched, check=True)
        for package in fetched.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, unpacked], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise FileNotFoundError("no PgBouncer: install it, or Debian's apt-get") from error
    [libraries] = (unpacked / "usr/lib").glob("*-linux-gnu")
    return unpacked / "usr/sbin/pgbouncer", libraries
