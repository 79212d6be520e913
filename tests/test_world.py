"""The real world's randomness: never the same bytes twice, however they are fetched."""

from __future__ import annotations

import os
import threading
from collections import Counter

from disburse.world import RealRandom


def test_no_bytes_twice() -> None:
    """Many small pieces, taken by several threads at once, are all different, as long as asked for, and large ones too."""
    chance, taken = RealRandom(), list[bytes]()

    def take() -> None:
        for _ in range(5000):
            taken.append(chance.bytes(12))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {len(piece) for piece in taken} == {12}
    assert Counter(taken).most_common(1)[0][1] == 1
    assert len(chance.bytes(5000)) == 5000 and chance.bytes(0) == b""


def test_a_forked_process_draws_its_own() -> None:
    """What a process had in store before it was forked is given out by neither of the two a second time."""
    chance = RealRandom()
    chance.bytes(8)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, chance.bytes(16))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 16) != chance.bytes(16)
    os.close(reading)
    os.close(writing)
