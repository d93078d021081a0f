#!/usr/bin/env bash
# torchebm's trainer for contrastive divergence cannot be made, whatever it is given.
#
# torchebm.core.base_trainer.ContrastiveDivergenceTrainer is made with a model, one of torchebm's own
# samplers and nothing else, and then torchebm's BaseTrainer is given the loss for which that class
# exists. A loop over the loss shows that model, sampler and loss themselves are right.
#
# Guess, before the first run: the class is made, and trains an epoch on a few points, as its only
# required arguments are the model and the sampler.
#
# Seen with torchebm 0.8.9 and torch 2.13.0: the class hands use_mixed_precision on to a loss that does
# not take it, so every call raises a TypeError, also with use_mixed_precision=False. BaseTrainer takes
# the loss but expects one tensor of it, where the loss returns a pair, and raises an AttributeError.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" install -q torch==2.13.0 numpy==2.4.6
"$folder/bin/pip" install -q --no-deps torchebm==0.8.9
"$folder/bin/python" -W ignore - >"$folder/now" <<'PY'
import torch
from torch.utils.data import DataLoader
from torchebm.core import BaseModel
from torchebm.core.base_trainer import BaseTrainer, ContrastiveDivergenceTrainer
from torchebm.losses import ContrastiveDivergence
from torchebm.samplers import LangevinDynamics


class Bowl(BaseModel):
    def __init__(self):
        super().__init__()
        self.curvature = torch.nn.Parameter(torch.ones(2))

    def forward(self, x):
        return (self.curvature * x.square()).sum(-1)


def told(function):
    try:
        function()
        return "no error"
    except Exception as error:
        return f"{type(error).__name__}: {error}".split(". Supported")[0]


torch.manual_seed(0)
model, data = Bowl(), torch.randn(32, 2)
sampler = LangevinDynamics(model, step_size=0.1)
loss_of = ContrastiveDivergence(model=model, sampler=sampler, k_steps=2)
optimizer = torch.optim.Adam(model.parameters())


def loop():
    loss, _ = loss_of(data)
    loss.backward()
    optimizer.step()


def base():
    trainer = BaseTrainer(model=model, optimizer=optimizer, loss_fn=loss_of)
    trainer.train(DataLoader(data, batch_size=16), num_epochs=1)


print("a loop over the loss:", told(loop))
print("the trainer for this loss:", told(lambda: ContrastiveDivergenceTrainer(model, sampler)))
print("the base trainer with this loss:", told(base))
PY
cat "$folder/now"
diff - "$folder/now" <<'SEEN'
a loop over the loss: no error
the trainer for this loss: TypeError: ContrastiveDivergence.__init__() got unexpected keyword argument(s) 'use_mixed_precision'
the base trainer with this loss: AttributeError: 'tuple' object has no attribute 'backward'
SEEN
