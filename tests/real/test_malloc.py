"""What large bodies leave behind in memory."""

from __future__ import annotations

import platform
import subprocess
import sys

MOST_LEFT = 3_000
"""KiB; without being told, glibc keeps about 20,000."""
BODIES_BETWEEN_SMALL_ONES = """
import re
from pathlib import Path
from swapcli._malloc import give_memory_back

def resident() -> int:
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

told = give_memory_back()
bytearray(8_000_000)  # from this glibc would learn
before, stays = resident(), []
for _ in range(30):
    body, small = bytearray(700_000), bytearray(2_000)
    stays.append((small, body))
stays = [small for small, _ in stays]
del body
print(int(told), resident() - before)
"""


def test_the_memory_of_large_bodies_is_given_back() -> None:
    words = subprocess.check_output([sys.executable, "-c", BODIES_BETWEEN_SMALL_ONES]).split()
    was_told, left = map(int, words)
    assert was_told == (platform.libc_ver()[0] == "glibc")
    assert left < MOST_LEFT or not was_told
