"""What measured speeds mean."""

from __future__ import annotations

from bb3.cli.speed import advice, candidates
from bb3.lm.llamacpp import Speed


def speed(threads: int, decode: float) -> Speed:
    return Speed(threads=threads, prefill=3 * decode, decode=decode)


def test_the_setting_is_right() -> None:
    found = advice(speed(2, 100), [speed(1, 60), speed(2, 105), speed(3, 108)])
    assert (found.state, found.remedy) == ("ok", "")
    assert "now with 2 threads: reads 300, writes 100" in found.text
    assert found.data["best_threads"] == 2  # three are hardly better


def test_more_threads_would_be_faster() -> None:
    found = advice(speed(1, 60), [speed(1, 60), speed(2, 105)])
    assert found.state == "note" and "engine.threads = 2" in found.remedy


def test_another_process_holds_a_core() -> None:
    found = advice(speed(2, 5), [speed(1, 55), speed(2, 4)])
    assert "another process holds a core" in found.remedy
    assert "engine.threads = 1" in found.remedy
    right = advice(speed(1, 50), [speed(1, 55), speed(2, 4)])
    assert right.state == "note" and right.remedy.endswith("in force is right for that.")


def test_more_threads_are_not_even_measured() -> None:
    found = advice(speed(1, 50), [speed(1, 55), speed(2, 0)])
    assert "2 threads: not done in 6 s" in found.text and "collapse" in found.remedy


def test_slow_whatever_the_threads() -> None:
    found = advice(speed(1, 2), [speed(1, 2), speed(2, 2.1)])
    assert found.state == "note" and "smaller model" in found.remedy


def test_one_core() -> None:
    assert advice(speed(1, 50), [speed(1, 50)]).state == "ok"


def test_numbers_worth_measuring() -> None:
    assert candidates(1) == [1]
    assert candidates(2) == [1, 2]
    assert candidates(9) == [1, 2, 3, 4, 6, 8]
