"""Hugging Face's Trainer, whose step trains a model stage by stage."""

from collections.abc import Iterator, Sequence
from itertools import islice
from math import floor
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid.core.learner import Learner
from torchsid.core.staged import StagedCascade
from torchsid.core.weighting import IGNORED
from torchsid.cut.assemble import staged_cascade
from torchsid.cut.model import check_model
from torchsid.errors import ConfigError
from torchsid.integrations.hf.heads import load_heads, save_heads
from torchsid.integrations.hf.model import Batch, outcomes, problems_of, target_of, without_labels
from torchsid.learners.sid import SID
from torchsid.packages import missing

try:
    from transformers import Trainer, TrainingArguments
except ImportError as error:
    raise missing("transformers", extra="hf", purpose="SIDTrainer") from error

_HEADS = 1e3  # what a head may cost, in stages: a readout of a large vocabulary costs more than the layers of a small model


class SIDTrainer(Trainer):
    """Trains a model of `transformers` in stages, each by a loss of its own; the rest is `transformers.Trainer`.

    The loop, the optimiser, evaluation, checkpoints and logs are the Trainer's. `trainer.model` stays the model that was given, and
    is saved as such; `trainer.cascade` is what is trained, the model and the heads of its stages, which are saved in a file beside
    it. `loss` in the logs is the last stage's, which is the model's own; `loss_stage_1` and so on are the stages'.

    Args:
        model: the model, to be cut into `stages`; or a cascade of one, `staged_cascade(...)`; or a learner of such a cascade:
            `SID(cascade, alpha=0.9)`, or `SID(cascade, update="stage")`, which updates every stage as soon as it has its gradients.
        args: as of `Trainer`.
        stages: their number, or the names of the submodules after which to cut; of a model alone.
        settings: any others of `Trainer`, such as `train_dataset`.

    Raises:
        ConfigError: something does not go together; names all.
        CutError: the model cannot be cut so.
    """

    def __init__(
        self,
        model: nn.Module | Learner,
        args: TrainingArguments | None = None,
        *,
        stages: int | Sequence[str] = 4,
        **settings: Any,
    ) -> None:
        learner = model if isinstance(model, Learner) else None
        module = model.module if isinstance(model, Learner) else model
        bare = module.model if isinstance(module, StagedCascade) else module
        check_model(bare)
        if problems := [*problems_of(bare), *_unused(settings)]:
            raise ConfigError(problems, source="model and settings of SIDTrainer")
        super().__init__(model=bare, args=args, **settings)
        if problems := list(_clashes(self.args, learner)):
            raise ConfigError(problems, source="arguments of SIDTrainer")
        cascade = module if isinstance(module, StagedCascade) else self._cut(bare, stages)
        self.cascade: StagedCascade = cascade.to(self.args.device)
        self.learner = learner or SID(cascade, label_smoothing=self.args.label_smoothing_factor)
        self._losses, self._updates = torch.zeros(()), 0  # of the stages, summed over the updates since they were logged

    def _cut(self, model: nn.Module, stages: int | Sequence[str]) -> StagedCascade:
        """Return the model in stages, as its first samples show it."""
        if self.args.activation_checkpointing:  # before it is cut, since a cut within a checkpoint is another one
            options = dict(self.args.activation_checkpointing_kwargs or {})
            every, offload = options.pop("every_n_layers", 1), options.pop("offload", False)
            enable: Any = model.activation_checkpointing_enable
            enable(activation_checkpointing_kwargs=options or None, every_n_layers=every, offload=offload)
        samples = list(islice(iter(self.train_dataset or ()), 2))
        if not samples:
            raise ConfigError(["train_dataset has no sample to cut the model by: give one, or a cascade as model"])
        with torch.random.fork_rng():  # a collator may mask at random
            batch = self._prepare_inputs(self._get_collator_with_removed_columns(self.data_collator)(samples))
        example = without_labels(batch)
        num_classes = outcomes(model, example)
        target_of(model, batch)  # that there are labels
        return staged_cascade(model, num_classes, stages, example, max_head_share=_HEADS)

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """Return the optimiser of the model and the heads."""
        optimizer: Optimizer = super().create_optimizer(self.cascade)
        epochs, answer = max(1, self.state.num_train_epochs), torch.Size([self.cascade.num_classes])
        self.learner.prepare_training(samples=0, epochs=epochs, optimizer=optimizer, answer=answer)
        return optimizer

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor | int | None]:
        """Return the batches of an update, and how many positions in all of them count."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, sum(_counted(target_of(self.model, batch)).to(device) for batch in batches)

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """Train every stage on a batch, and return what it contributes to the last one's mean loss, detached.

        Args:
            model: as of `Trainer`.
            inputs: as of `Trainer`.
            num_items_in_batch: positions that count in all batches of this update; by default those of this one.
        """
        self.cascade.train()
        if callable(into_training := getattr(self.optimizer, "train", None)):  # of optimisers that keep two sets of weights
            into_training()
        inputs = self._prepare_inputs(inputs)
        target, learner = target_of(self.model, inputs), self.learner
        share = _counted(target)
        share = share / torch.as_tensor(share if num_items_in_batch is None else num_items_in_batch).to(share.device).clamp(min=1)
        learner.begin_epoch(1 + floor(self.state.epoch or 0.0))
        scaler = self.accelerator.scaler
        with self.accelerator.autocast():
            train = learner.step if learner.optimizer else learner.backward
            out = train(without_labels(inputs), target, scale=scaler.scale(share) if scaler else share)
        self._losses = self._losses.to(share.device) + share * out.stage_losses
        self._updates += self.accelerator.sync_gradients
        return share * out.stage_losses[-1]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as `Trainer`, and the mean loss of every stage since the last time."""
        if "loss" in logs and self._updates:
            means = (self._losses / self._updates).tolist()
            logs |= {f"loss_stage_{stage}": mean for stage, mean in enumerate(means, 1)}
            self._losses, self._updates = torch.zeros(()), 0
            if self.learner.optimizer:  # the gradients are gone when the Trainer measures them
                logs.pop("grad_norm", None)
        super().log(logs, start_time)

    def _wrap_model(self, model: nn.Module, training: bool = True, dataloader: Any = None) -> nn.Module:
        """Return what the loop trains, the cascade, whose gradients it clips and clears; the model itself is evaluated."""
        return self.cascade if training else self.model

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            save_heads(self.cascade, output_dir or self.args.output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_heads(self.cascade, resume_from_checkpoint)
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        load_heads(self.cascade, self.state.best_model_checkpoint)


def _counted(target: Tensor) -> Tensor:
    """Return how many positions count."""
    return (target != IGNORED).sum()


def _unused(settings: dict[str, Any]) -> Iterator[str]:
    if settings.get("model_init") is not None:
        yield "model_init makes a model that has no stages: give model"
    if settings.get("compute_loss_func") is not None:
        yield "compute_loss_func is no loss of a stage: the objective of learner is, SID(cascade, alpha=..., direction=...)"


def _clashes(args: TrainingArguments, learner: Learner | None) -> Iterator[str]:
    """Yield which arguments of the training do not go with stages, or with the learner."""
    if args.world_size > 1 or args.deepspeed or args.fsdp:
        yield "one process trains the stages here: leave out torchrun, deepspeed and fsdp; torchsid train spreads them over workers"
    if args.n_gpu > 1:
        yield f"{args.n_gpu} GPUs would each have a copy of the model: set CUDA_VISIBLE_DEVICES to one of them"
    if args.torch_compile:
        yield "torch_compile = True hides where the stages end: set it to False; cascade.compile_stages() compiles them one by one"
    if args.fp16 and args.device.type != "cuda":
        yield f"fp16 = True needs losses scaled as on CUDA, but the device is {args.device.type}: set bf16 = True, or neither"
    if learner is None:
        return
    if not isinstance(learner.module, StagedCascade):
        yield f"the learner is of a {type(learner.module).__name__}: give one of a staged_cascade"
    if learner.remembers_samples:
        yield f"{type(learner).__name__} remembers every sample, and Trainer does not say which a batch has: choose another method"
    if learner.optimizer is not None:
        yield "the learner has an optimiser: leave it out there, and give optimizers=(optimizer, None)"
    if args.label_smoothing_factor:
        yield "label_smoothing_factor is a setting of the learner that was given: SID(cascade, label_smoothing=...)"
    if learner.updates_at_once(vars(learner)):
        why = "the learner updates a stage before the others have their gradients"
        if args.gradient_accumulation_steps > 1:
            yield f"{why}, so that none are accumulated: set gradient_accumulation_steps = 1, or update='together'"
        if args.max_grad_norm:
            yield f"{why}, so that there is no whole gradient to clip: set max_grad_norm = 0, or update='together'"
        if args.fp16:
            yield f"{why}, so that no step can be undone when float16 overflows: set bf16 = True, or update='together'"
