"""The order in which yaml.v3 writes the keys of a map, and so the order of a matrix' sets. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cmp_to_key


def natural_order(names: Iterable[str]) -> list[str]:
    """*names* sorted: letters by code point, runs of digits by their number, what is neither before letters.

    ``a < a-b < a1 < a2 < a10 < ab < b``
    """
    return sorted(names, key=cmp_to_key(_compare))


def _sign(condition: bool) -> int:
    return -1 if condition else 1


def _compare(one: str, other: str) -> int:
    after_digits = False
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a == b:
            after_digits = _is_digit(a)
            continue
        a_letter, b_letter = a.isalpha(), b.isalpha()
        if a_letter and b_letter:
            return _sign(a < b)
        if a_letter or b_letter:
            return _sign(a_letter if after_digits else b_letter)
        return _compare_numbers(one, other, at)
    return (len(one) > len(other)) - (len(one) < len(other))


def _compare_numbers(one: str, other: str, at: int) -> int:
    # Where the numbers differ after a common start such as "10|05", that start is part of both.
    lead = ""
    if "0" in (one[at], other[at]):
        before = at
        while before and _is_digit(one[before - 1]):
            before -= 1
            if one[before] != "0":
                lead = "1"
                break
    a, b = _digits(one, at), _digits(other, at)
    a_number, b_number = _number(lead + a), _number(lead + b)
    if a_number != b_number:
        return _sign(a_number < b_number)
    if len(a) != len(b):
        return _sign(len(a) < len(b))
    return _sign(one[at] < other[at])


def _is_digit(c: str) -> bool:
    return c.isdecimal()


def _digits(text: str, at: int) -> str:
    end = at
    while end < len(text) and _is_digit(text[end]):
        end += 1
    return text[at:end]


def _number(digits: str) -> tuple[int, str]:
    """Compares as the number does, however many digits it has."""
    plain = "".join(str(int(d)) for d in digits).lstrip("0")
    return len(plain), plain
