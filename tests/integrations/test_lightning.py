"""Lightning's Trainer trains in stages as a loop of one's own does."""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of packages that it imports
    from lightning import Trainer, seed_everything
    from lightning.pytorch.callbacks import ModelCheckpoint

    from torchsid.integrations.lightning import StagedModule

from torchsid import SID, staged_cascade

pytestmark = pytest.mark.filterwarnings("ignore")  # about workers, loggers and intervals
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}
MakesOptimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def module(**settings: Any) -> StagedModule:
    torch.manual_seed(0)
    layers = [part for _ in range(3) for part in (nn.Linear(8, 8), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(8, 3))
    cascade = staged_cascade(model, 3, ["1", "3"], torch.zeros(2, 8), head="linear", max_head_share=9.0)
    return StagedModule(SID(cascade), MakesOptimizer, **settings)


def data(batch_size: int) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(48, 8, generator=generator)
    return DataLoader(TensorDataset(x, (x[:, :3].argmax(-1))), batch_size=batch_size)


def weights(of: StagedModule) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in of.network.state_dict().items()}


def own_loop(epochs: int, *, clip: float = float("inf"), step_size: int = 10**6) -> dict[str, Tensor]:
    of = module()
    optimizer = MakesOptimizer(of.network.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size)
    for _ in range(epochs):
        of.network.train()
        for x, target in data(16):
            optimizer.zero_grad()
            of.learner.backward(x, target)
            nn.utils.clip_grad_norm_(of.network.parameters(), clip)
            optimizer.step()
        scheduler.step()
    return weights(of)


def test_it_trains_as_a_loop_of_ones_own_with_clipping_a_scheduler_and_accumulation() -> None:
    scheduler = partial(torch.optim.lr_scheduler.StepLR, step_size=2)
    expected = own_loop(3, clip=0.5, step_size=2)
    for batch_size, accumulate in ((16, 1), (4, 4)):
        of = module(scheduler=scheduler)
        trainer = Trainer(max_epochs=3, gradient_clip_val=0.5, accumulate_grad_batches=accumulate, **QUIET)
        trainer.fit(of, data(batch_size))
        torch.testing.assert_close(weights(of), expected, rtol=1e-5, atol=1e-6)


def test_it_resumes_from_lightnings_own_checkpoint(tmp_path: Path) -> None:
    of = module()
    keeps = ModelCheckpoint(dirpath=tmp_path, save_last=True)
    settings = QUIET | {"enable_checkpointing": True}
    Trainer(max_epochs=2, callbacks=[keeps], **settings).fit(of, data(16))
    resumed = module()
    trainer = Trainer(max_epochs=4, callbacks=[ModelCheckpoint(dirpath=tmp_path / "second")], **settings)
    trainer.fit(resumed, data(16), ckpt_path=str(tmp_path / "last.ckpt"), weights_only=True)
    torch.testing.assert_close(weights(resumed), own_loop(4), rtol=1e-5, atol=1e-6)


def test_every_stage_is_measured_and_answers() -> None:
    seed_everything(0, verbose=False)
    of = module()
    trainer = Trainer(max_epochs=8, precision="bf16-mixed", **QUIET)
    trainer.fit(of, data(16), data(16))
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {"train_loss", "val_loss", "val_accuracy", "val_accuracy/stage_1", "val_accuracy/stage_3"} <= found.keys()
    assert found["val_accuracy"] == found["val_accuracy/stage_3"] > 0.6
    (tested,) = trainer.test(of, data(16), verbose=False)
    assert tested["test_accuracy"] == pytest.approx(found["val_accuracy"])
    beliefs = trainer.predict(of, data(16))
    assert beliefs is not None
    assert beliefs[0].shape == (4, 16, 3)


def test_an_optimiser_that_misses_the_heads_is_an_error() -> None:
    of = module()
    of.configure_optimizers = lambda: MakesOptimizer(of.network.model.parameters())  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="optimi"):
        Trainer(max_epochs=1, **QUIET).fit(of, data(16))
