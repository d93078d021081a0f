"""Some calls of the fuzz of the ops (fuzz_ops.py), and that it notices what it looks for."""

import pytest
import torch
from fuzz.calls import make_call
from fuzz.failing_calls import die_at_two, hang_at_two
from fuzz_ops import OUTCOMES, fuzz, run_call

import effebm_ext as eff
from effebm_ext import _C

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in sqrt")


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_some_hundred_calls_are_right_or_refused():
    outcomes = list(fuzz(400, seed=0, processes=1))
    assert [outcome for outcome in outcomes if outcome.kind in OUTCOMES] == []
    assert [outcome.call for outcome in outcomes] == list(range(400))
    kinds = [outcome.kind for outcome in outcomes]
    assert kinds.count("right") > 200
    assert kinds.count("refused") > 80


@pytest.mark.parametrize(("run", "kind"), [(die_at_two, "crashed"), (hang_at_two, "hung")])
def test_a_call_that_does_not_come_back_is_one_finding(run, kind):
    outcomes = list(fuzz(5, seed=0, processes=2, run=run, patience=2))
    assert [outcome.kind for outcome in outcomes] == ["right", "right", kind, "right", "right"]


def writes_a_margin(op, x, *arguments):
    x.as_strided((1,), (1,), 0).fill_(1)
    return op(x, *arguments)


def writes_its_input(op, x, *arguments):
    got = op(x, *arguments)
    return got if x.numel() == 0 else x.copy_(-x) * 0 + got


def writes_and_refuses(op, x, *arguments):
    x.as_strided((1,), (1,), 0).fill_(1)
    raise ValueError("no")


def refuses(op, *arguments):
    raise ValueError("no")


def raises_another_kind(op, *arguments):
    raise KeyError("no")


def accepts(op, x, *arguments):
    try:
        return op(x, *arguments)
    except (TypeError, ValueError, RuntimeError):
        return x


def calls_topk_compress(number):
    call = make_call(0, number)
    told = call.told
    is_topk = call.name == "compress" and told["codes"][0] == _C.COMPRESSORS["topk"]
    return is_topk and told["how"] == "function" and call.fault != "compressor"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda op, *arguments: -op(*arguments), "differ, the first is"),
        (lambda op, *arguments: op(*arguments).double(), "expected torch.float"),
        (writes_a_margin, "an input, or memory around a tensor, has changed"),
        (writes_its_input, "an input, or memory around a tensor, has changed"),
        (writes_and_refuses, "an error left something written"),
        (refuses, "refused: "),
        (raises_another_kind, "KeyError"),
        (accepts, "accepted"),
    ],
    ids=["bits", "dtype", "margin", "input", "error", "refusal", "kind", "acceptance"],
)
def test_an_op_that_does_wrong_is_noticed(monkeypatch, fault, message):
    numbers = [n for n in range(2000) if calls_topk_compress(n)]
    assert len(numbers) > 10
    op = eff.topk_compress
    monkeypatch.setattr(eff, "topk_compress", lambda *arguments: fault(op, *arguments))
    found = [run_call(0, n) for n in numbers]
    assert any(outcome.kind == "wrong" and message in outcome.message for outcome in found)


def test_the_same_number_is_the_same_call():
    for number in range(20):
        assert str(make_call(5, number)) == str(make_call(5, number))
    assert len({str(make_call(5, number)) for number in range(20)}) == 20
