"""Configurations with values that nobody should give: each is refused by the name of an option, or
can be written and read back."""

import collections
import dataclasses
import json
import math
import random

import pytest

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import KINDS

OPTIONS = [field.name for field in dataclasses.fields(TrainConfig)]
VALUES = [
    *(None, True, False, 0, 1, -1, 2, 3, 10**30, 0.5, -0.5, 1e-300, 1e300),
    *(math.nan, math.inf, -math.inf, "", "none", "auto", "noise", "uniform", "gaussian", "mlp"),
    *("topk:0.1", "topk:", "topk:0", "block-sign:64", "random-k:0.1:biased", "a.b:C", "-1:1"),
    *("value:1", "value:-1", "norm:2", "1:-1", "bfloat16", "uint8", "28x28", "ü", "x" * 300),
    *([], {}, ("a",), b"x"),
]


def outcome(options):
    """What a configuration of these options and its use by every kind of data come to."""
    try:
        config = TrainConfig(**options)
        for kind in KINDS:
            resolved = config.resolved(kind)
            assert resolved.resolved(kind) == resolved
            written = json.dumps(dataclasses.asdict(resolved))
            assert TrainConfig(**json.loads(written)) == resolved
    except (TypeError, ValueError) as error:
        said = str(error)
    else:
        return "made"
    assert said.startswith(tuple(OPTIONS)), f"{said} of {options}"
    return "refused"


def test_random_options_are_refused_by_name_or_kept():
    draw = random.Random(0)
    found = collections.Counter()
    for _ in range(3000):
        names = draw.sample(OPTIONS, draw.choice((1, 1, 1, 2, 3)))
        found[outcome({name: draw.choice(VALUES) for name in names})] += 1
    assert found["made"] > 100
    assert found["refused"] > 1000


def test_an_error_without_a_name_is_noticed(monkeypatch):
    def fails(self, kind):
        raise ValueError("something is wrong")

    monkeypatch.setattr(TrainConfig, "resolved", fails)
    with pytest.raises(AssertionError, match=r"something is wrong.* of {'seed': 1}"):
        outcome({"seed": 1})
