"""An upload ends, whatever the store answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from conveyor.core.pending import Pending, ready, run_sync
from conveyor.errors import UnavailableError
from conveyor.store.blobs.transfer import upload_inputs
from conveyor.store.call_style import BlockingCalls
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Content
from conveyor.system.file_threads import FileThreads


class Idle(MemoryStore):
    """Takes the first `takes` pieces of a file, and nothing of the others."""

    def __init__(self, takes: int) -> None:
        super().__init__()
        self.takes = takes

    def write_content(
        self, digest: str, offset: int, data: bytes, *, last: bool
    ) -> Pending[Content]:
        if not self.takes:
            return ready(Content(offset, whole=False))
        self.takes -= 1
        return super().write_content(digest, offset, data, last=last)


@pytest.mark.parametrize("takes", [0, 1])
def test_an_upload_of_which_the_store_takes_nothing_is_an_error(tmp_path: Path, takes: int) -> None:
    (tmp_path / "in").write_bytes(bytes(2 << 20))
    files = {"in": str(tmp_path / "in")}
    with pytest.raises(UnavailableError, match="took nothing of the file 'in' after"):
        run_sync(
            upload_inputs(
                files, store=Idle(takes), call_style=BlockingCalls(), threads=FileThreads()
            )
        )
