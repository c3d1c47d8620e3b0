"""Cron rules in words."""

from __future__ import annotations

import pytest

from conveyor.core import cron
from conveyor.core.cron_words import describe_schedule


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("* * * * *", "every minute (UTC)"),
        ("*/5 * * * *", "every 5 minutes (UTC)"),
        ("*/1 * * * *", "every minute (UTC)"),
        ("0 * * * *", "every hour (UTC)"),
        ("5,35 * * * *", "every hour at minutes 5 and 35 (UTC)"),
        ("15 */2 * * *", "every 2 hours at minute 15 (UTC)"),
        ("30 3 * * *", "every day at 03:30 (UTC)"),
        ("30 3 * * 1-5", "at 03:30 on Monday to Friday (UTC)"),
        ("0 9,17 * * MON,FRI", "at 09:00 and 17:00 on Monday and Friday (UTC)"),
        ("0 0 * * 7", "at 00:00 on Sunday (UTC)"),
        ("0 0 1,15 * *", "at 00:00 on day 1 and 15 of the month (UTC)"),
        ("0 0 1 * 1", "at 00:00 on day 1 of the month or on Monday (UTC)"),
        ("5 4 * JAN-MAR SUN", "at 04:05 on Sunday in January to March (UTC)"),
        ("@daily", "every day at 00:00 (UTC)"),
        ("@monthly", "at 00:00 on day 1 of the month (UTC)"),
        ("0 0 L * *", "by the cron rule '0 0 L * *' (UTC)"),
        ("0 */2,5 * * *", "by the cron rule '0 */2,5 * * *' (UTC)"),
        ("1-30 * * * *", "by the cron rule '1-30 * * * *' (UTC)"),
        ("0 1,2,3,4,5,6,7 * * *", "by the cron rule '0 1,2,3,4,5,6,7 * * *' (UTC)"),
        ("every 5m", "every 5 minutes"),
        ("every 1d", "every day"),
        ("every 90", "every 90 seconds"),
    ],
)
def test_a_rule_is_described_in_plain_words(rule: str, words: str) -> None:
    cron.parse(rule)
    assert describe_schedule(rule, "UTC") == words


def test_the_time_zone_is_named() -> None:
    assert describe_schedule("0 0 * * *", "Europe/Berlin") == "every day at 00:00 (Europe/Berlin)"
