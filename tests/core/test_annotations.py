"""Annotations that cannot be resolved: they cost the checks of no other argument."""

from __future__ import annotations

import functools
import sys
import types
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.core.codec import ArgsCodec, ResultCodec
from conveyor.core.task import task
from conveyor.errors import EncodingError

if TYPE_CHECKING:
    from decimal import Decimal

KEY = uuid.UUID(int=7)


def pay(count: int, amount: Decimal) -> None: ...


def ship(count: int) -> Decimal: ...


@dataclass
class Order:
    amount: Decimal


def send(order: Order) -> None: ...


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    made = types.ModuleType("made_up")
    monkeypatch.setitem(sys.modules, "made_up", made)
    return made


def run(module: types.ModuleType, code: str) -> Any:
    exec("from __future__ import annotations\n" + code, vars(module))
    return module


def test_the_other_arguments_are_still_checked() -> None:
    with pytest.raises(EncodingError, match=r"Expected `int`, got `str` - at `\$\.count`"):
        ArgsCodec(pay).encode(("two", 1), {})


def test_plain_data_passes_an_annotation_that_cannot_be_resolved() -> None:
    codec = ArgsCodec(pay)
    assert codec.decode(codec.encode((2, ["1.50"]), {})) == ((), {"count": 2, "amount": ["1.50"]})


@pytest.mark.parametrize("function", [pay, send], ids=["of the parameter", "of a field"])
def test_what_only_the_annotation_could_restore_is_refused_and_the_annotation_is_named(
    function: Any,
) -> None:
    args = (2, KEY) if function is pay else (Order(1),)  # type: ignore[arg-type]
    with pytest.raises(EncodingError) as error:
        ArgsCodec(function).encode(args, {})
    written = "Decimal" if function is pay else "Order"
    assert (
        f"its annotation `{written}` cannot be resolved (name 'Decimal' is not defined): define or "
        "import it in the function's module, not only under `if TYPE_CHECKING:`"
    ) in str(error.value)


def test_a_class_that_is_defined_below_the_function_is_known_when_it_is_used(
    module: types.ModuleType,
) -> None:
    run(module, "def f(order: Order, count: int) -> Order: ...")
    args, results = ArgsCodec(module.f), ResultCodec(module.f)
    run(module, "from dataclasses import dataclass\n@dataclass\nclass Order:\n    number: int")
    order = module.Order(5)
    assert args.decode(args.encode((order, 1), {})) == ((), {"order": order, "count": 1})
    assert results.decode(results.encode(order, "f")) == order
    with pytest.raises(EncodingError, match=r"Expected `int`, got `str`"):
        args.encode((module.Order("x"), 1), {})
    with pytest.raises(EncodingError, match=r"is an int, which does not match its annotation"):
        results.encode(5, "f")


def test_a_worker_resolves_a_late_annotation_too(module: types.ModuleType) -> None:
    run(module, "def f(key: UUID) -> UUID: ...")
    args, results = ArgsCodec(module.f), ResultCodec(module.f)
    run(module, "from uuid import UUID")
    assert args.decode(b'{"key":"00000000-0000-0000-0000-000000000007"}')[1] == {"key": KEY}
    assert results.decode(b'"00000000-0000-0000-0000-000000000007"') == KEY


@pytest.mark.parametrize(
    "annotation", ["the width in pixels", "1 / 0", "missing.Name", "list[Gone]"]
)
def test_an_annotation_that_is_not_a_type_does_not_stop_the_decoration(annotation: str) -> None:
    def f(x): ...  # type: ignore[no-untyped-def]

    f.__annotations__ = {"x": annotation, "return": annotation}
    made = task(f)
    assert made.args.encode((5,), {}) == b'{"x":5}'
    with pytest.raises(EncodingError, match=f"its annotation `{annotation.replace('[', '.')[:6]}"):
        made.args.encode((KEY,), {})
    assert made.results.encode(5, "f") == b"5"


def test_a_result_whose_annotation_cannot_be_resolved_comes_back_as_plain_json() -> None:
    codec = ResultCodec(ship)
    assert codec.decode(codec.encode({"a": KEY}, "ship")) == {"a": str(KEY)}
    assert codec.encode(None, "ship") is None


class Caller:
    def __call__(self, count: int) -> int:
        return count

    def method(self, key: uuid.UUID) -> None: ...


@pytest.mark.parametrize(
    "function",
    [functools.partial(pay, amount=1), Caller(), Caller().__call__],
    ids=["partial", "object", "method"],
)
def test_other_callables_have_their_arguments_checked_as_well(function: Any) -> None:
    codec = ArgsCodec(function)
    assert codec.encode((1,), {}) == b'{"count":1}'
    with pytest.raises(EncodingError, match="Expected `int`"):
        codec.encode(("x",), {})


def test_a_wrapped_function_is_checked_in_its_own_module(module: types.ModuleType) -> None:
    run(module, "from uuid import UUID as Key\ndef f(key: Key): ...")

    @functools.wraps(module.f)
    def wrapper(*args: Any, **kwargs: Any) -> None: ...

    codec = ArgsCodec(wrapper)
    assert codec.decode(codec.encode((KEY,), {})) == ((), {"key": KEY})
