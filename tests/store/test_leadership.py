"""The rule of who leads: whatever is asked in whatever order, one leads at a time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.store.leadership import lead
from conveyor.store.messages import Leader

HOLDERS = st.sampled_from(["a", "b", "c"])
ASKED = st.tuples(
    st.sampled_from([0.0, 1.0, 2.5, 5.0, 20.0]),  # how much later
    HOLDERS,
    st.sampled_from([0.0, 2.0, 5.0, 10.0]),
    st.sampled_from([None, "one", "two", ""]),
)


@settings(max_examples=300, database=None, derandomize=True)
@given(st.lists(ASKED, max_size=30))
def test_one_leads_at_a_time_and_each_change_is_counted(
    asked: list[tuple[float, str, float, str | None]],
) -> None:
    now, before = 1000.0, None
    for later, holder, hold, note in asked:
        now += later
        after = lead(before, "scaler", holder, hold=hold, note=note, now=now)
        check(before, after, holder, hold=hold, note=note, now=now)
        assert lead(after, "scaler", holder, hold=hold, note=note, now=now) == after
        before = after


def check(
    before: Leader | None, after: Leader, holder: str, *, hold: float, note: str | None, now: float
) -> None:
    """Hold one step against what was promised."""
    last = before or Leader("scaler", "", 0.0, 0.0, 0)
    led = last.holder if last.until > now else ""
    if led not in ("", holder):
        assert after == last
    elif hold:
        assert (after.holder, after.until) == (holder, now + hold)
    else:
        assert after.until <= now
    assert after.term == last.term + (after.holder != last.holder)
    assert after.since == (last.since if after.holder == last.holder else now)
    may_write = (after.holder == holder and after.until > now) or led == holder
    assert after.note == (note if may_write and note is not None else last.note)
