"""A `LightningModule` that trains a cascade in stages, with everything that Lightning's `Trainer` does around a step.

Needs the extra `lightning`.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from torchsid.core.learner import Learner, StepOutput, fill
from torchsid.packages import missing

try:
    from lightning import LightningModule
except ImportError as error:
    raise missing("lightning", extra="lightning", purpose="a StagedModule") from error

MakesOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakesScheduler = Callable[[Optimizer], LRScheduler]


class StagedModule(LightningModule):
    """Trains by any method of torchsid; a batch is `(x, target)` or `(x, target, weight)`.

    Lightning multiplies a loss by what accumulation and a gradient scaler ask for, then calls `backward`. Here the loss is 1, so
    that what arrives there is the factor alone, and the method adds `factor · ∇L_i` to every stage. So accumulation, clipping,
    precision, schedulers, callbacks, checkpoints and resuming work as with any module, and without manual optimisation.

    Logged are `train_loss`, the sum over the stages, `val_loss` and `val_accuracy` of the last stage, and `val_accuracy/stage_1` …
    of each; likewise for testing.

    Args:
        learner: a method with its network, such as `SID(staged_cascade(...))`.
        optimizer: makes one of parameters; AdamW at 1e-3 by default.
        scheduler: makes one of the optimiser, stepped after every epoch.

    Attributes:
        network: the network, an ordinary module; the deployed one of a staged cascade is `network.model`.
    """

    def __init__(
        self,
        learner: Learner,
        optimizer: MakesOptimizer = partial(torch.optim.AdamW, lr=1e-3),  # noqa: B008 - makes a new one each time
        scheduler: MakesScheduler | None = None,
    ) -> None:
        super().__init__()
        self.learner, self.network = learner, learner.module
        self._makes_optimizer, self._makes_scheduler = optimizer, scheduler
        self._batch: Any = None
        self._output: StepOutput | None = None

    def forward(self, x: Any) -> Any:
        """Return the logits of the last stage, `[B, ..., C]`."""
        return self.network(x)

    def configure_optimizers(self) -> Any:
        """Return the optimiser, and the scheduler if there is one; override it as in any module."""
        optimizer = self._makes_optimizer(self.network.parameters())
        return optimizer if self._makes_scheduler is None else ([optimizer], [self._makes_scheduler(optimizer)])

    def on_train_start(self) -> None:
        """Check that the optimiser has all that is trained; see `Lookout.rely_on`."""
        if self.learner.lookout:
            self.learner.lookout.rely_on(self.optimizers(use_pl_optimizer=False))

    def on_train_epoch_start(self) -> None:
        """Tell the method which epoch begins."""
        self.learner.begin_epoch(self.current_epoch + 1)

    def training_step(self, batch: Any) -> Tensor:
        """Keep the batch for `backward`, and return 1."""
        self._batch = batch
        return torch.ones((), device=self.device)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Add the method's gradients for the batch, times the factor that `loss` is."""
        x, target, *weight = self._batch
        with self.trainer.precision_plugin.forward_context():
            self._output = self.learner.backward(x, target, weight=weight[0] if weight else None, scale=loss.detach())

    def on_after_backward(self) -> None:
        """Log the losses, which are known now."""
        assert self._output is not None
        self.log("train_loss", self._output.loss, prog_bar=True)

    def validation_step(self, batch: Any) -> None:
        """Measure every stage on a held-out batch."""
        self._measure(batch, "val")

    def test_step(self, batch: Any) -> None:
        """Measure every stage on a test batch."""
        self._measure(batch, "test")

    def predict_step(self, batch: Any) -> Tensor:
        """Return what every stage believes, log-probabilities `[L+1, B, ..., C]`, the prior first."""
        return self.learner.log_beliefs(batch[0] if isinstance(batch, list | tuple) else batch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the method remembers."""
        checkpoint["torchsid"] = self.learner.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        for name, tensor in self.learner.state().items():
            fill(tensor, checkpoint["torchsid"][name])

    def _measure(self, batch: Any, part: str) -> None:
        x, target, *_ = batch
        log_beliefs = self.learner.log_beliefs(x)[1:]  # [L, B, ..., C]
        right = (log_beliefs.argmax(-1) == target).flatten(1).float().mean(1)  # [L]
        kl = -log_beliefs.gather(-1, target.expand(len(log_beliefs), *target.shape).unsqueeze(-1)).flatten(1).mean(1)
        self.log(f"{part}_loss", kl[-1], batch_size=len(target))
        self.log(f"{part}_accuracy", right[-1], prog_bar=True, batch_size=len(target))
        stages = {f"{part}_accuracy/stage_{stage}": value for stage, value in enumerate(right, 1)}
        self.log_dict(stages, batch_size=len(target))
