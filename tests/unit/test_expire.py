"""Which months are wholly older than an age."""

from datetime import date

import pytest

from loader.errors import SettingsError
from loader.expire import first_kept_month

TODAY = date(2026, 3, 31)


@pytest.mark.parametrize(
    ("age", "first_kept"),
    [
        ("1d", date(2026, 3, 1)),
        ("31d", date(2026, 2, 1)),
        ("4w", date(2026, 3, 1)),
        ("5w", date(2026, 2, 1)),
        ("1m", date(2026, 2, 1)),
        ("3m", date(2025, 12, 1)),
        ("18m", date(2024, 9, 1)),
        ("2y", date(2024, 3, 1)),
        ("9999y", date(1, 3, 1)),
    ],
)
def test_a_month_stays_if_one_of_its_days_is_younger(age, first_kept):
    assert first_kept_month(age, TODAY) == first_kept


def test_on_the_first_day_of_a_month_all_lines_of_the_last_one_are_a_day_old_on_the_second():
    assert first_kept_month("1d", date(2026, 3, 1)) == date(2026, 2, 1)
    assert first_kept_month("1d", date(2026, 3, 2)) == date(2026, 3, 1)


@pytest.mark.parametrize("age", ["", "18", "m", "0d", "-1d", "1.5y", "18M", "18 m", "1h", "10000d"])
def test_no_age_is_named_with_what_is_accepted(age):
    with pytest.raises(SettingsError, match=r"--older-than is .*accepted: .*e\.g\. 18m"):
        first_kept_month(age, TODAY)
