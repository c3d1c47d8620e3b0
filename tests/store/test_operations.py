"""The operations of the stores are twins: same names, same signatures as the protocol declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from conveyor.store.http.api import STORE_CALLS
from conveyor.store.memory.store import OPERATIONS as IN_MEMORY
from conveyor.store.operation_store import REASON_FOR_AUDIT, OperationStore
from conveyor.store.protocol import Store
from conveyor.store.sql.store import OPERATIONS as IN_SQL

DECLARED = [
    name.strip("_")
    for name, value in vars(OperationStore).items()
    if inspect.isfunction(value) and value.__module__ == "conveyor.store.operation_store"
    if value.__qualname__ == "operation.<locals>.run"
]


def signature(function: Callable[..., Any]) -> tuple[list[str], str]:
    """Return the parameters after the first one, and the annotation of the answer."""
    signature = inspect.signature(function)
    _, *parameters = signature.parameters.values()
    return [str(each) for each in parameters], signature.return_annotation


@pytest.mark.parametrize("operations", [IN_MEMORY, IN_SQL], ids=["memory", "sql"])
def test_operations_have_the_signatures_that_the_protocol_declares(
    operations: dict[str, Callable[..., Any]],
) -> None:
    assert len(DECLARED) > 40
    for name in DECLARED:
        parameters, answer = signature(operations[name])
        if name in REASON_FOR_AUDIT:
            parameters.append("reason: 'str' = ''")
        assert (parameters, f"Pending[{answer}]") == signature(getattr(Store, name)), name


def test_a_reason_that_the_http_api_takes_is_one_that_the_store_takes() -> None:
    taken = {
        name
        for name, call in STORE_CALLS.items()
        if call.audit_name and "reason" in getattr(call.request, "__struct_fields__", ())
    }
    assert taken >= REASON_FOR_AUDIT
    for name in taken:
        assert "reason" in inspect.signature(getattr(Store, name)).parameters, name


def test_twins_lie_in_files_of_the_same_name() -> None:
    for name in IN_MEMORY.keys() & IN_SQL.keys():
        files = {each[name].__module__.rpartition(".")[2] for each in (IN_MEMORY, IN_SQL)}
        assert len(files) == 1, (name, files)
