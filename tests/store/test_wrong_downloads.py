"""No download makes a path of what is no digest, or writes what no file can have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conveyor.core.files import InputFile
from conveyor.core.pending import run_sync
from conveyor.errors import UsageError
from conveyor.store.blobs.transfer import download
from conveyor.store.call_style import BlockingCalls
from conveyor.store.memory.store import MemoryStore
from conveyor.system.file_threads import FileThreads


@pytest.mark.parametrize(
    "wrong", [{"digest": "/../../x" * 8}, {"digest": "x"}, {"size": -1}, {"size": 1 << 40}]
)
def test_no_file_is_downloaded_whose_digest_or_size_is_none(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    store = MemoryStore()
    file = InputFile(**{"name": "in", "digest": "0" * 64, "size": 2, **wrong})
    (tmp_path / "to").mkdir()
    with pytest.raises(UsageError):
        run_sync(
            download(
                file,
                str(tmp_path / "to/file"),
                store=store,
                call_style=BlockingCalls(),
                threads=FileThreads(),
            )
        )
    assert [each.name for each in tmp_path.rglob("*")] == ["to"]
