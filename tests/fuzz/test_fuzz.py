"""Decoders of foreign bytes raise only what they may, in bounded time and memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from decoders import DECODERS
from found import FOUND
from harness import FaultError, Trial, accepted, forget_peak, fuzz
from planted import PLANTED
from targets import TARGETS

from conveyor.store.http.api import SERVER_CALLS, STORE_CALLS
from conveyor.store.http.payloads import EmptyPayload

SOURCE = Path(__file__).parents[2] / "src" / "conveyor"
# A million inputs take 10 s to 6 min, in CPU time of one core.
FEW, MANY, LONGEST = 200, 1_000_000, 3600
DECODES = re.compile(
    r"(json|msgpack)\.decode\(|Decoder\(|msgspec\.convert\(|tomllib\.loads|csv\.reader|unpack_from"
    r"|parse_qsl?\(|urlsplit\(|recv\(|feed_data\(|re\.compile\(|from_bytes\("
)


@pytest.mark.parametrize("name", TARGETS)
def test_a_decoder_does_only_what_it_may(name: str) -> None:
    assert all(accepted(TARGETS[name]))
    assert fuzz(TARGETS[name], FEW) == FEW


@pytest.mark.parametrize(("name", "data"), FOUND, ids=[name for name, _ in FOUND])
def test_an_input_that_was_a_fault_once_is_none(name: str, data: bytes) -> None:
    Trial(TARGETS[name])(data)


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str) -> None:
    if fault == "of memory" and not forget_peak():
        pytest.skip("this system does not tell how much memory one input takes")
    with pytest.raises(FaultError, match=fault):
        fuzz(PLANTED[fault], 20_000, longest_time=10 if fault == "of memory" else 0.1)


def test_every_call_is_fuzzed() -> None:
    calls = [*STORE_CALLS.values(), *SERVER_CALLS]
    asking = {call.name for call in calls if call.request is not EmptyPayload}
    of_server = [name for name in TARGETS if name.startswith(("body of", "query of"))]
    assert {name.split(" of ")[1] for name in of_server} == asking
    answering = {call.name for call in calls if call.response is not None}
    of_client = [name for name in TARGETS if name.startswith("response to ")]
    assert {name.split(" to ")[1] for name in of_client} == answering


def test_every_module_that_decodes_is_fuzzed_or_says_why_not() -> None:
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if DECODES.search(path.read_text())
    }
    assert found == DECODERS.keys()
    named = {name for names in DECODERS.values() if not isinstance(names, str) for name in names}
    assert {name for name in named if not any(each.startswith(name) for each in TARGETS)} == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_decoder_does_only_what_it_may_with_many_inputs(name: str, tmp_path: Path) -> None:
    """A million inputs, all of them; guided by coverage where atheris is."""
    command = [sys.executable, str(Path(__file__).parent)]
    ran = subprocess.run(
        # A name may begin with dashes.
        [*command, "--inputs", str(MANY), "--seconds", str(LONGEST), "--", name],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=LONGEST + 120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this platform")
@pytest.mark.slow
def test_a_planted_fault_is_found_by_atheris(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).parent), "planted: raised"]
    ran = subprocess.run(
        [*command, "--inputs", "100000"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode != 0
    assert "FaultError" in ran.stdout + ran.stderr
