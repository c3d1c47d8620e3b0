"""What tests of the providers share: a pool, and how an agent is started."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "server"))

from conveyor.autoscaler.agent_launch import AgentLaunch
from conveyor.autoscaler.provider import PoolSpec


@pytest.fixture
def launch() -> AgentLaunch:
    return AgentLaunch(server="http://jobs.example.com", args=("--allow-commands",))


@pytest.fixture
def pool() -> Callable[..., PoolSpec]:
    def make(**options: Any) -> PoolSpec:
        return PoolSpec(
            name="linux", labels=("os=linux",), slots=2, queues=("builds",), options=options
        )

    return make
