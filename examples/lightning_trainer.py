"""Lightning: any method in its Trainer, with accumulation, clipping and callbacks.

pip install "torchsid[lightning]"
python examples/lightning_trainer.py
"""

from functools import partial

import torch
from lightning import Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchsid import SID, staged_cascade
from torchsid.integrations.lightning import StagedModule
from torchsid.tasks.images.task import Images

seed_everything(0)
digits = Images(name="digits").load(seed=0)
train, validation = (
    DataLoader(TensorDataset(part.inputs[:].float() / 255, part.target[:]), batch_size=64, shuffle=part is digits.train)
    for part in (digits.train, digits.validation)
)
network = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(32, 32, 3, padding=1, stride=2),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(512, 128),
    nn.ReLU(),
    nn.Linear(128, 10),
)
cascade = staged_cascade(network, 10, ["1", "3"], torch.zeros(2, 1, 8, 8), max_head_share=9.0)
module = StagedModule(SID(cascade), optimizer=partial(torch.optim.AdamW, lr=3e-3))
trainer = Trainer(max_epochs=6, gradient_clip_val=1.0, accumulate_grad_batches=2, logger=False, enable_checkpointing=False)
trainer.fit(module, train, validation)
print({name: round(float(value), 3) for name, value in trainer.callback_metrics.items()})
