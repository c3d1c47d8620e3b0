"""A policy is read from TOML, and what would make no sense is refused with the way out."""

from __future__ import annotations

import pytest

from conveyor.autoscaler.agent_launch import Launch, agent_args
from conveyor.autoscaler.config import read_configuration
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
    policy = read_configuration(WHOLE).policy
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


def test_a_pool_needs_no_more_than_a_maximum() -> None:
    [pool] = read_configuration("[pools.plain]\nmax = 3\n").policy.pools
    assert pool == Pool(spec=PoolSpec(name="plain"), max=3)
    assert (pool.min, pool.idle_for) == (0, 600)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nurll = 'http://x'\n[pools.a]\nmax = 1", "did you mean 'url'?"),
        ("[server]\nurl = 3\n[pools.a]\nmax = 1", "url = 3: a text is wanted"),
        ("[server]\nargs = 'x'\n[pools.a]\nmax = 1", "args = 'x': a list of texts is wanted"),
        ("[server]\nargs = [1]\n[pools.a]\nmax = 1", "args = [1]: a list of texts is wanted"),
        ("server = 'x'\n[pools.a]\nmax = 1", "server = 'x': a table is wanted"),
        ("[providers.dokcer]\n[pools.a]\nmax = 1", "did you mean 'docker'?"),
        ("providers.docker = 1\n[pools.a]\nmax = 1", "docker = 1: a table is wanted"),
        ("name = ''\n[pools.a]\nmax = 1", "name = '': a text is wanted"),
        ("[pools.a]\nmax = 1\ncommands = 1", "true or false is wanted"),
        ("pools = ", "cannot be read as TOML"),
        ("", "names no kind of machine: begin with a table [pools.NAME]"),
        ("pools = 3", "names no kind of machine"),
        ("[pools]\nplain = 3", "a table [pools.plain] is wanted"),
        ("[pools.a]\nmax = 1\n[pol.b]", "there is no key 'pol'; did you mean 'pools'?"),
        ("cost_cpa = 1\n[pools.a]\nmax = 1", "there is no key 'cost_cpa'; did you mean 'cost_cap'"),
        ("[pools.a]\nmax = 1\nzzz = 2", "there is no key 'zzz'; there are labels, slots"),
        ("[pools.a]\nmax = 1\nidle = 2", "did you mean"),
        ("[pools.a]\nmin = 1", "say by `max` how many"),
        ("[pools.a]\nmax = 0", "max = 0: a whole number of 1 or more"),
        ("[pools.a]\nmax = true", "max = True: a whole number"),
        ("[pools.a]\nmax = 1.5", "max = 1.5: a whole number"),
        ("[pools.a]\nmax = 1\nmin = -1", "min = -1: a whole number of 0 or more"),
        ("[pools.a]\nmax = 1\nmin = 2", "min is 2 and max 1"),
        ("[pools.a]\nmax = 1\nlabels = 'gpu'", "a list of texts is wanted"),
        ("[pools.a]\nmax = 1\nlabels = ['']", "a list of texts is wanted"),
        ("[pools.a]\nmax = 1\nidle_for = 'soon'", "got 'soon'"),
        ("[pools.a]\nmax = 1\nidle_for = -1", "a duration must be 0 or more seconds, got -1"),
        ("[pools.a]\nmax = 1\nprovider = ''", "a text is wanted"),
        ("[pools.a]\nmax = 1\noptions = 1", "a table is wanted"),
        ("[pools.a]\nmax = 1\none_shot = 1", "true or false is wanted"),
        ("[pools.a]\nmax = 1\none_shot = true\nslots = 2", "`slots` has to be 1"),
        ("[pools.a]\nmax = 2\nslots = 2\nmin_idle = 5", "2 machines have 4 slots"),
        ("[pools.a]\nmax = 1\nbilling_increment = 60", "billing_window is longer"),
        ("[pools.a]\nmax = 1\ncost_per_hour = -1", "a sum of money of 0 or more"),
        ("[pools.a]\nmax = 1\ncost_per_hour = inf", "a sum of money of 0 or more"),
        ("cost_cap = 1\n[pools.a]\nmax = 1", "give cost_per_hour for pool 'a'"),
        ("cost_cap = 1\n[pools.a]\nmax = 9\nmin = 2\ncost_per_hour = 1", "costs 2 an hour"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_configuration(text, where="scale.toml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("scale.toml")


def test_the_server_and_the_providers_are_read() -> None:
    found = read_configuration(
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
    assert found.launch("http://elsewhere") == Launch(
        server="https://jobs.example.com",
        token_file="/run/token",
        ca_file="/run/ca.pem",
        args=("--drain", "60s"),
    )
    assert list(found.open_providers(found.launch())) == ["process"]


def test_agents_go_to_the_store_itself_when_that_is_a_server() -> None:
    found = read_configuration("[pools.plain]\nmax = 3\n", where="scale.toml")
    assert found.launch("https://jobs.example.com").server == "https://jobs.example.com"
    with pytest.raises(UsageError, match=r"scale.toml: agents need a server, and jobs.db is none"):
        found.launch("jobs.db")


def test_what_a_provider_does_not_know_is_refused() -> None:
    found = read_configuration("providers.process.grase = 1\n[pools.plain]\nmax = 3\n")
    with pytest.raises(UsageError, match="grase"):
        found.open_providers(found.launch("http://localhost"))
    other = read_configuration("[pools.plain]\nmax = 3\nprovider = 'cloud'\n")
    with pytest.raises(UsageError, match="there is no provider 'cloud'"):
        other.open_providers(other.launch("http://localhost"))


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
def test_what_a_pool_says_is_what_its_agents_are_told_and_offer(
    spec: PoolSpec, offers: tuple[str, ...], args: str
) -> None:
    assert spec.offers == offers
    told = agent_args(Launch(server="http://s"), spec, "m")
    rest = [each for each in told if each not in ("--label", "machine=m")]
    assert rest == [
        *("agent", "--server", "http://s", "--concurrency", "1"),
        *(each for each in args.split() if each != "--label"),
    ]
