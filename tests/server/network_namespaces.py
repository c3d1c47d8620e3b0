"""Two hosts on one machine: network namespaces with a virtual cable that can be pulled out."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager

import pytest

# An address for documents (RFC 5737), and only within namespaces that are made here.
SERVER, AGENT = "192.0.2.1", "192.0.2.2"


class Cable:
    """Connects two namespaces, `here` and `there`, unless it is pulled out."""

    def __init__(self) -> None:
        self.here, self.there = f"cvy{os.getpid()}h", f"cvy{os.getpid()}t"

    def within(self, namespace: str) -> tuple[str, ...]:
        """Return the prefix for a command that runs in a namespace."""
        return "ip", "netns", "exec", namespace

    def pull_out(self) -> None:
        ip("-n", self.there, "link", "set", "there", "down")

    def plug_in(self) -> None:
        ip("-n", self.there, "link", "set", "there", "up")


@contextmanager
def cable() -> Generator[Cable]:
    """Create two namespaces for the context; skip the test where that is impossible."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network is to be broken for real: that needs root, and ip (iproute2)")
    made = Cable()
    try:
        try:
            for each in (made.here, made.there):
                ip("netns", "add", each)
                ip("-n", each, "link", "set", "lo", "up")
            ends = "type", "veth", "peer", "name", "there", "netns", made.there
            ip("-n", made.here, "link", "add", "here", *ends)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces can be made here: {error.stderr.strip()}")
        sides = (made.here, "here", SERVER), (made.there, "there", AGENT)
        for namespace, link, address in sides:
            ip("-n", namespace, "address", "add", f"{address}/24", "dev", link)
            ip("-n", namespace, "link", "set", link, "up")
        yield made
    finally:
        for each in (made.here, made.there):
            subprocess.run(["ip", "netns", "delete", each], capture_output=True, check=False)


def ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True, text=True, timeout=30)
