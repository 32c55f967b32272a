from __future__ import annotations

from collections import Counter

import torch

from bb3.nets.decoding import Settings
from bb3.nets.sampling import Sampler

CPU = torch.device("cpu")
PROBS = torch.tensor([0.05, 0.4, 0.25, 0.2, 0.1])


def draws(count: int = 2000, **settings: object) -> Counter[int]:
    sampler = Sampler([Settings(sample=True, seed=1, **settings)], CPU)  # type: ignore[arg-type]
    return Counter(int(sampler.draw(PROBS.log()[None])[0]) for _ in range(count))


def test_without_a_cut_tokens_come_as_often_as_they_are_likely() -> None:
    counts = draws(count=8000)
    for token, probability in enumerate(PROBS.tolist()):
        assert abs(counts[token] / 8000 - probability) < 0.02


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    assert set(draws(top_p=0.3)) == {1}
    assert set(draws(top_p=0.6)) == {1, 2}
    assert set(draws(top_p=0.66)) == {1, 2, 3}


def test_the_likeliest_token_is_kept_however_small_top_p_is() -> None:
    assert set(draws(top_p=0.0)) == {1}
    assert set(draws(top_p=0.0, top_k=3)) == {1}
    assert set(draws(top_p=0.0, lambda_decay=0.5, omega_bound=0.0)) == {1}


def test_top_k_keeps_the_likeliest() -> None:
    assert set(draws(top_k=1)) == {1}
    assert set(draws(top_k=3)) == {1, 2, 3}


def test_factual_nucleus_narrows_within_a_sentence_and_opens_after_it() -> None:
    settings = Settings(
        sample=True, top_p=0.9, lambda_decay=0.5, omega_bound=0.1, full_stops=(2,), seed=0
    )
    sampler = Sampler([settings], CPU)
    widths = [sampler._top_p(0)]
    for _ in range(6):
        sampler.draw(torch.tensor([[0.0, 50.0, 0.0]]))  # never a full stop
        widths.append(sampler._top_p(0))
    assert widths == [0.9, 0.9, 0.45, 0.225, 0.1125, 0.1, 0.1]
    sampler.draw(torch.tensor([[0.0, 0.0, 50.0]]))
    assert sampler._top_p(0) == 0.9


def test_each_input_has_its_own_dice() -> None:
    rows = PROBS.log().expand(3, -1)
    alone = Sampler([Settings(sample=True, seed=5)], CPU)
    group = Sampler([Settings(sample=True, seed=seed) for seed in (4, 5, 6)], CPU)
    first = [int(alone.draw(rows[:1])[0]) for _ in range(20)]
    second = [int(group.draw(rows)[1]) for _ in range(10)]
    group.keep([1, 2])
    second += [int(group.draw(rows[:2])[0]) for _ in range(10)]
    assert first == second
