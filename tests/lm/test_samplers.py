from bb3.core.ports import Sampling
from bb3.lm.samplers import UNSUPPORTED, fields


def body(sampling: Sampling, **kwargs):
    return fields(sampling, **{"prompt": [5, 5, 6], "source": [5, 5], **kwargs})


def test_greedy_and_beam_have_no_temperature():
    for method in ("greedy", "beam"):
        assert body(Sampling(method=method, beam_size=4))["temperature"] == 0.0
        assert "top_p" not in body(Sampling(method=method))


def test_factual_nucleus_is_nucleus():
    plain = body(Sampling(method="nucleus", top_p=0.9, temperature=0.7, top_k=40))
    assert plain == body(Sampling(method="factual_nucleus", top_p=0.9, temperature=0.7, top_k=40))
    assert (plain["top_p"], plain["temperature"], plain["top_k"]) == (0.9, 0.7, 40)
    assert {"beam_size", "lambda_decay"} <= UNSUPPORTED


def test_penalties_on_the_answer_leave_the_prompt_alone():
    asked = body(Sampling(presence_penalty=0.5, frequency_penalty=0.25))
    assert asked["logit_bias"] == [[5, 1.0], [6, 0.75]]
    assert (asked["presence_penalty"], asked["frequency_penalty"]) == (0.5, 0.25)


def test_penalties_on_the_source_are_a_bias():
    asked = body(Sampling(source_presence_penalty=0.5, source_frequency_penalty=0.25))
    assert asked["logit_bias"] == [[5, -1.0]]
    assert "presence_penalty" not in asked


def test_both_penalties_cancel_where_they_meet():
    assert "logit_bias" not in body(
        Sampling(frequency_penalty=0.5, source_frequency_penalty=0.5), source=[5, 5, 6]
    )


def test_seed_is_an_unsigned_number():
    assert body(Sampling(), seed=-1)["seed"] == 0xFFFF_FFFF
    assert "seed" not in body(Sampling())
    assert body(Sampling(), grammar="root ::= []")["grammar"] == "root ::= []"
