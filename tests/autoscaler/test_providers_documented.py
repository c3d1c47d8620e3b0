"""The document on providers names all of them, and every setting and option."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conveyor.autoscaler.providers import command, docker, kubernetes, process
from conveyor.autoscaler.providers.open import PROVIDERS

TEXT = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
TABLES = {
    "process": (process.ProcessSettings, process.ProcessOptions),
    "command": (command.CommandSettings,),
    "docker": (docker.DockerSettings, docker.DockerOptions),
    "kubernetes": (kubernetes.KubernetesSettings, kubernetes.KubernetesOptions),
}


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_setting_of_a_provider_is_documented(name: str) -> None:
    [section] = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    fields = [field for table in TABLES[name] for field in table.__struct_fields__]
    assert [field for field in fields if f"`{field}`" not in section] == []
