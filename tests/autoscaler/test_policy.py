"""A policy is read from TOML, and what would make no sense is refused with the way out."""

from __future__ import annotations

import pytest

from conveyor.autoscaler.agent_launch import AgentLaunch, agent_args
from conveyor.autoscaler.config import parse_config
from conveyor.autoscaler.policy import Pool
from conveyor.autoscaler.provider import PoolSpec
from conveyor.errors import UsageError

WHOLE = """
cost_cap = 20
[pools.gpu]
provider = "command"
labels = ["gpu!only", "linux"]
queues = ["train"]
slots = 1
app = "trains:belt"
commands = true
one_shot = true
min = 1
max = 4
min_idle = 1
idle_for = "10m"
min_age = "1h"
boot_deadline = 90
step_up = 2
step_down = 1
billing_increment = "1h"
billing_window = "5m"
cost_per_hour = 2.5
options = { create = ["./create"] }
"""


def test_every_key_is_read() -> None:
    policy = parse_config(WHOLE).policy
    assert policy.cost_cap == 20
    assert policy.pools == (
        Pool(
            spec=PoolSpec(
                name="gpu",
                provider="command",
                labels=("gpu!only", "linux"),
                queues=("train",),
                app="trains:belt",
                commands=True,
                one_shot=True,
                options={"create": ["./create"]},
            ),
            min=1,
            max=4,
            min_idle=1,
            idle_for=600,
            min_age=3600,
            boot_deadline=90,
            step_up=2,
            step_down=1,
            billing_increment=3600,
            billing_window=300,
            cost_per_hour=2.5,
        ),
    )


def test_a_pool_needs_only_a_maximum() -> None:
    [pool] = parse_config("[pools.plain]\nmax = 3\n").policy.pools
    assert pool == Pool(spec=PoolSpec(name="plain"), max=3)
    assert (pool.min, pool.idle_for) == (0, 600)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nurll = 'http://x'\n[pools.a]\nmax = 1", "did you mean 'url'?"),
        ("[server]\nurl = 3\n[pools.a]\nmax = 1", "url = 3: must be a non-empty string"),
        (
            "[server]\nargs = 'x'\n[pools.a]\nmax = 1",
            "args = 'x': must be a list of non-empty strings",
        ),
        (
            "[server]\nargs = [1]\n[pools.a]\nmax = 1",
            "args = [1]: must be a list of non-empty strings",
        ),
        ("server = 'x'\n[pools.a]\nmax = 1", "server = 'x': must be a table"),
        ("[providers.dokcer]\n[pools.a]\nmax = 1", "did you mean 'docker'?"),
        ("providers.docker = 1\n[pools.a]\nmax = 1", "docker = 1: must be a table"),
        ("name = ''\n[pools.a]\nmax = 1", "name = '': must be a non-empty string"),
        ("[pools.a]\nmax = 1\ncommands = 1", "must be true or false"),
        ("pools = ", "is not valid TOML"),
        ("", "has no pools; add a table [pools.NAME]"),
        ("pools = 3", "has no pools"),
        ("[pools]\nplain = 3", "must be a table [pools.plain]"),
        ("[pools.a]\nmax = 1\n[pol.b]", "unknown key 'pol'; did you mean 'pools'?"),
        ("cost_cpa = 1\n[pools.a]\nmax = 1", "unknown key 'cost_cpa'; did you mean 'cost_cap'"),
        ("[pools.a]\nmax = 1\nzzz = 2", "unknown key 'zzz'; known keys: labels, slots"),
        ("[pools.a]\nmax = 1\nidle = 2", "did you mean"),
        ("[pools.a]\nmin = 1", "`max`, the maximum number of machines, is missing"),
        ("[pools.a]\nmax = 0", "max = 0: must be an integer of 1 or more"),
        ("[pools.a]\nmax = true", "max = True: must be an integer of 1 or more"),
        ("[pools.a]\nmax = 1.5", "max = 1.5: must be an integer of 1 or more"),
        ("[pools.a]\nmax = 1\nmin = -1", "min = -1: must be an integer of 0 or more"),
        ("[pools.a]\nmax = 1\nmin = 2", "min = 2 is greater than max = 1"),
        ("[pools.a]\nmax = 1\nlabels = 'gpu'", "must be a list of non-empty strings"),
        ("[pools.a]\nmax = 1\nlabels = ['']", "must be a list of non-empty strings"),
        ("[pools.a]\nmax = 1\nidle_for = 'soon'", "got 'soon'"),
        ("[pools.a]\nmax = 1\nidle_for = -1", "a duration must be 0 or more seconds, got -1"),
        ("[pools.a]\nmax = 1\nprovider = ''", "must be a non-empty string"),
        ("[pools.a]\nmax = 1\noptions = 1", "must be a table"),
        ("[pools.a]\nmax = 1\none_shot = 1", "must be true or false"),
        ("[pools.a]\nmax = 1\none_shot = true\nslots = 2", "slots = 2: must be 1"),
        ("[pools.a]\nmax = 2\nslots = 2\nmin_idle = 5", "2 machines have 4 slots"),
        (
            "[pools.a]\nmax = 1\nbilling_increment = 60",
            "billing_window = 300 is longer than billing_increment = 60",
        ),
        ("[pools.a]\nmax = 1\ncost_per_hour = -1", "must be a finite number of 0 or more"),
        ("[pools.a]\nmax = 1\ncost_per_hour = inf", "must be a finite number of 0 or more"),
        (
            "cost_cap = 1\n[pools.a]\nmax = 1",
            "cost_cap needs cost_per_hour in every pool; add it to pool 'a'",
        ),
        (
            "cost_cap = 1\n[pools.a]\nmax = 9\nmin = 2\ncost_per_hour = 1",
            "cost 2 an hour, more than cost_cap = 1",
        ),
    ],
)
def test_an_invalid_policy_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config(text, where="scale.toml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("scale.toml")


def test_the_server_and_the_providers_are_read() -> None:
    found = parse_config(
        """
name = "cloud"
[server]
url = "https://jobs.example.com"
token_file = "/run/token"
ca_file = "/run/ca.pem"
args = ["--drain", "60s"]
[providers.process]
folder = "machines"
[pools.plain]
max = 3
"""
    )
    assert found.name == "cloud"
    assert found.agent_launch("http://elsewhere") == AgentLaunch(
        server="https://jobs.example.com",
        token_file="/run/token",
        ca_file="/run/ca.pem",
        args=("--drain", "60s"),
    )
    assert list(found.open_providers(found.agent_launch())) == ["process"]


def test_agents_use_the_store_s_url_if_it_is_a_server() -> None:
    found = parse_config("[pools.plain]\nmax = 3\n", where="scale.toml")
    assert found.agent_launch("https://jobs.example.com").server == "https://jobs.example.com"
    with pytest.raises(
        UsageError, match=r"scale.toml: agents need the URL of a server, got 'jobs.db'"
    ):
        found.agent_launch("jobs.db")


def test_unknown_settings_of_a_provider_are_refused() -> None:
    found = parse_config("providers.process.grase = 1\n[pools.plain]\nmax = 3\n")
    with pytest.raises(UsageError, match="grase"):
        found.open_providers(found.agent_launch("http://localhost"))
    other = parse_config("[pools.plain]\nmax = 3\nprovider = 'cloud'\n")
    with pytest.raises(UsageError, match="unknown provider 'cloud'"):
        other.open_providers(other.agent_launch("http://localhost"))


@pytest.mark.parametrize(
    ("spec", "offers", "args"),
    [
        (PoolSpec(name="a", labels=("x",)), ("x",), "--label x"),
        (
            PoolSpec(name="a", commands=True, labels=("x",)),
            ("x", "commands!only"),
            "--allow-commands --label x",
        ),
        (
            PoolSpec(name="a", commands=True, app="m:belt"),
            ("commands",),
            "--app m:belt --allow-commands",
        ),
        (PoolSpec(name="a", one_shot=True), (), "--one-shot"),
    ],
)
def test_a_pool_defines_the_options_and_labels_of_its_agents(
    spec: PoolSpec, offers: tuple[str, ...], args: str
) -> None:
    assert spec.offers == offers
    told = agent_args(AgentLaunch(server="http://s"), spec, "m")
    rest = [each for each in told if each not in ("--label", "machine=m")]
    assert rest == [
        *("agent", "--server", "http://s", "--concurrency", "1"),
        *(each for each in args.split() if each != "--label"),
    ]
