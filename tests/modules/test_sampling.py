"""The released decoding parameters (REFERENCE section 5) and how they are overridden."""

from __future__ import annotations

import pytest

from bb3.core.errors import UsageError
from bb3.core.ports import Sampling
from bb3.modules.catalog import MODULES
from bb3.modules.sampling import family, override

RESPONSES = "crm mrm srm vrm grm orm brm".split()
REPLY = {"method": "factual_nucleus", "top_p": 0.9, "lambda_decay": 0.9, "omega_bound": 0.3,
         "max_tokens": 128, "stop": ("\n",)}  # fmt: skip
REPEATING = {"presence_penalty": 0.5, "frequency_penalty": 0.5}
GREEDY = {"method": "greedy", "stop": ("\n",)}
OPT = {
    "sdm": GREEDY | {"max_tokens": 10, "presence_penalty": 0, "frequency_penalty": 0},
    "mdm": GREEDY | {"max_tokens": 10, "presence_penalty": 0, "frequency_penalty": 0},
    "sgm": GREEDY | {"max_tokens": 32, "presence_penalty": 0},
    "mgm": GREEDY | {"max_tokens": 32, "presence_penalty": 0},
    "ckm": GREEDY | REPEATING | {"max_tokens": 32},
    "mkm": GREEDY | REPEATING | {"max_tokens": 32},
    "skm": GREEDY | REPEATING | {"max_tokens": 64},
    **{tag: REPLY | REPEATING | {"min_tokens": 20} for tag in RESPONSES},
    "srm": REPLY | REPEATING | {"min_tokens": 20, "source_presence_penalty": 0.5,
                                "source_frequency_penalty": 0.5},
    "orm": REPLY | {"min_tokens": 1, "presence_penalty": 0, "frequency_penalty": 0},
}  # fmt: skip
BEAM = {"method": "beam", "beam_size": 3, "block_ngram": 3}
R2C2 = {
    "sdm": {"method": "greedy", "max_tokens": 10, "block_ngram": 0},
    "mdm": {"method": "greedy", "max_tokens": 10, "block_ngram": 0},
    "sgm": {"method": "beam", "beam_size": 1, "min_tokens": 2, "block_ngram": 0},
    "mgm": BEAM | {"min_tokens": 10, "block_context_ngram": 0},
    "ckm": BEAM | {"min_tokens": 1, "block_context_ngram": 3},
    "mkm": BEAM | {"min_tokens": 5, "block_context_ngram": 0},
    "skm": BEAM | {"min_tokens": 10, "block_context_ngram": 3},
    **{
        tag: BEAM | {"beam_size": 10, "min_tokens": 20, "block_context_ngram": 3}
        for tag in RESPONSES
    },
}
LIMITS = {"ckm": 1812, "mkm": 1412, "skm": 1412, "orm": 1412, "srm": 1784, "crm": 1880,
          "mrm": 1848, "grm": 1880}  # fmt: skip


@pytest.mark.parametrize(("name", "table"), [("opt", OPT), ("r2c2", R2C2)])
@pytest.mark.parametrize("tag", MODULES)
def test_released_parameters(name, table, tag):
    sampling = family(name)[tag]
    assert {field: getattr(sampling, field) for field in table[tag]} == table[tag]
    if tag != "srm":
        assert sampling.source_presence_penalty == sampling.source_frequency_penalty == 0


@pytest.mark.parametrize("tag", MODULES)
def test_released_prompt_limits(tag):
    assert MODULES[tag].opt_limit == LIMITS.get(tag, 1912)


@pytest.mark.parametrize("name", ["opt", "r2c2", "chat", "fewshot"])
def test_every_family_has_every_module(name):
    assert set(family(name)) == set(MODULES)


def test_unknown_family():
    with pytest.raises(UsageError, match="no sampling parameters for the dialect 'gpt'"):
        family("gpt")


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("top_p", "0.8", 0.8),
        ("top_p", 1, 1.0),
        ("max_tokens", "20", 20),
        ("beam_size", 4, 4),
        ("method", "beam", "beam"),
        ("stop", "END", ("END",)),
        ("stop", ["a", "b"], ("a", "b")),
        ("length_penalty", "-1.5", -1.5),
    ],
)
def test_override(name, value, read):
    result = getattr(override(Sampling(), {name: value}, "srm"), name)
    assert result == read
    assert type(result) is type(read)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("top_p", 1.5, "srm.top_p is 1.5, outside 0 to 1."),
        ("top_p", -0.1, "srm.top_p is -0.1, outside"),
        ("top_p", "nan", "srm.top_p"),
        ("temperature", "inf", "srm.temperature is inf, outside"),
        ("top_p", "much", "srm.top_p cannot be 'much'."),
        ("top_p", None, "srm.top_p cannot be None."),
        ("top_p", True, "srm.top_p cannot be True."),
        ("max_tokens", 0, "srm.max_tokens is 0, outside"),
        ("max_tokens", 1.5, "srm.max_tokens cannot be 1.5."),
        ("max_tokens", "1e3", "srm.max_tokens cannot be '1e3'."),
        ("max_tokens", 10**9, "srm.max_tokens is 1000000000, outside"),
        ("min_tokens", 65, "srm.min_tokens is 65, more than srm.max_tokens"),
        ("beam_size", 1000, "srm.beam_size is 1000, outside"),
        ("top_k", -1, "srm.top_k is -1, outside"),
        ("block_ngram", -1, "srm.block_ngram is -1, outside"),
        ("method", "guess", "srm.method cannot be 'guess'."),
        ("method", ["beam"], "srm.method cannot be"),
        ("stop", 5, "srm.stop cannot be 5."),
        ("stop", "", "srm.stop cannot be ''."),
        ("topp", 0.5, "srm.topp is not a sampling parameter. Known are: method, "),
    ],
)
def test_bad_values_are_told(name, value, message):
    with pytest.raises(UsageError) as caught:
        override(Sampling(), {name: value}, "srm")
    assert message in str(caught.value)
