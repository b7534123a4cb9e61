"""SIDTrainer against transformers' own Trainer, on tiny models."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.hugging_face import CLASSES, VOCABULARY, build, sentences
from torchsid import SID, staged_cascade
from torchsid.errors import CheckpointError, ConfigError, CutError

transformers: Any = pytest.importorskip("transformers", reason="pip install transformers")
pytest.importorskip("accelerate", reason="pip install accelerate")

from torchsid.integrations.hf import SIDTrainer, load_heads, untie  # noqa: E402 - it needs both

LENGTHS = (8, 5, 7, 3, 6, 8, 4)
Rows = list[dict[str, Tensor]]


def texts(kind: str) -> Rows:
    """Texts of several lengths; of one of them no token is a target."""
    batch = sentences(*LENGTHS)
    labels = torch.tensor([0, 3, 1, 2, 4, -100, 1])
    if "classifier" not in kind and "BERT" not in kind:
        labels = batch["input_ids"].masked_fill((batch["attention_mask"] == 0) | (labels == -100)[:, None], -100)
    return [dict(zip((*batch, "labels"), row, strict=True)) for row in zip(*batch.values(), labels, strict=True)]


def arguments(folder: Path, **settings: Any) -> Any:
    usual = {"per_device_train_batch_size": 2, "num_train_epochs": 1, "max_grad_norm": 0.0, "learning_rate": 1e-2}
    quiet = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1}
    return transformers.TrainingArguments(output_dir=str(folder), **(usual | quiet | settings))


def trained(model: Any, args: Any, rows: Rows, *, resume: Path | None = None, **settings: Any) -> Any:
    """The trainer after training."""
    torch.manual_seed(0)  # of the heads
    trainer = SIDTrainer(model, args, train_dataset=rows, **settings)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return trainer


def seeded(kind: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return build(kind, **settings)


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def assert_close(model: nn.Module, other: nn.Module, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(dict(model.state_dict()), dict(other.state_dict()), atol=tolerance, rtol=tolerance)


def test_one_stage_is_the_trainer_itself(tmp_path: Path) -> None:
    """Clipping, weight decay, warm-up, evaluation, accumulation with a ragged end: all of it as without stages."""
    settings = {"gradient_accumulation_steps": 2, "max_grad_norm": 0.5, "weight_decay": 0.1, "warmup_steps": 2}
    rows, args = texts("Llama"), arguments(tmp_path, num_train_epochs=2, eval_strategy="epoch", **settings)
    theirs = transformers.Trainer(seeded("Llama"), args, train_dataset=rows, eval_dataset=rows)
    theirs.train()
    ours = trained(seeded("Llama"), args, rows, stages=1, eval_dataset=rows)
    assert_close(ours.model, theirs.model)
    for own, other in zip(ours.state.log_history[:-1], theirs.state.log_history[:-1], strict=True):
        same = {name: value for name, value in other.items() if not name.startswith(("eval_runtime", "eval_s", "eval_model"))}
        assert {name: own[name] for name in same} == pytest.approx(same, rel=1e-4)


@pytest.mark.parametrize("kind", ["GPT-2", "BERT"])
def test_accumulated_gradients_are_those_of_one_batch(tmp_path: Path, kind: str) -> None:
    """Seven texts of different lengths in batches of one and two: the means weigh tokens, not batches."""
    names = ("attn_pdrop", "embd_pdrop", "resid_pdrop", "hidden_dropout_prob", "attention_probs_dropout_prob")
    still = dict.fromkeys(names, 0.0)
    settings = {"optim": "sgd", "num_train_epochs": 2, "max_grad_norm": 1.0}
    rows, found = texts(kind), []
    for size, times in ((4, 1), (2, 2), (1, 4)):
        args = arguments(tmp_path, per_device_train_batch_size=size, gradient_accumulation_steps=times, **settings)
        found.append(trained(seeded(kind, **still), args, rows, stages=3))
    whole, *others = found
    assert len(losses(whole)) == 4
    for other in others:
        assert_close(other.cascade, whole.cascade)
        for own, expected in zip(other.state.log_history[:-1], whole.state.log_history[:-1], strict=True):
            assert own == pytest.approx(expected | {"epoch": own["epoch"]}, rel=1e-5)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # of peft's own
@pytest.mark.parametrize("form", ["model", "LoRA"])
def test_a_run_that_is_resumed_equals_one_that_was_not(tmp_path: Path, form: str) -> None:
    def model() -> nn.Module:
        made = seeded("Llama", attention_dropout=0.2)
        if form == "LoRA":
            peft: Any = pytest.importorskip("peft", reason="pip install peft")
            made = peft.get_peft_model(made, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], lora_dropout=0.1))
        return made

    rows = texts("Llama")
    settings = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 3, "eval_strategy": "steps", "eval_steps": 2}
    saved = tmp_path / "whole" / "checkpoint-3"
    whole = trained(model(), arguments(tmp_path / "whole", **settings), rows, stages=2, eval_dataset=rows)
    again = trained(model(), arguments(tmp_path / "again", **settings), rows, stages=2, eval_dataset=rows, resume=saved)
    assert_close(again.cascade, whole.cascade, 0.0)
    assert losses(again)[-5:] == losses(whole)[-5:]


@pytest.mark.parametrize("candidates", [0, 4])
def test_stages_that_are_updated_at_once_have_the_same_weights(tmp_path: Path, candidates: int) -> None:
    rows, found = texts("Llama"), []
    for update in ("together", "stage"):
        model = seeded("Llama")
        cascade = staged_cascade(model, VOCABULARY, 2, sentences(8, 5), max_head_share=100.0)
        found.append(trained(SID(cascade, candidates=candidates, update=update), arguments(tmp_path), rows))
    assert_close(found[1].cascade, found[0].cascade, 0.0)
    assert losses(found[1]) == losses(found[0])
    assert not any("grad_norm" in entry for entry in found[1].state.log_history)


def test_what_is_saved_is_the_model_alone(tmp_path: Path) -> None:
    settings = {"bf16": True, "activation_checkpointing": True, "save_strategy": "epoch", "eval_strategy": "epoch"}
    args = arguments(tmp_path, **settings, load_best_model_at_end=True, metric_for_best_model="loss")
    model, rows = untie(seeded("GPT-2", tie_word_embeddings=True)), texts("GPT-2")
    trainer = trained(model, args, rows, stages=2, eval_dataset=rows)
    trainer.save_model(str(tmp_path / "saved"))
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert_close(loaded, trainer.model, 0.0)
    assert {parameter.dtype for parameter in trainer.cascade.parameters()} == {torch.float32}
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names == {"config.json", "generation_config.json", "model.safetensors", "stage_heads.safetensors", "training_args.bin"}
    assert not [path for path in (tmp_path / "saved").iterdir() if b"torchsid" in path.read_bytes()]


def test_of_a_cascade_its_heads_are_loaded_into_it_alone(tmp_path: Path) -> None:
    rows = texts("Llama")
    trainer = SIDTrainer(seeded("Llama"), arguments(tmp_path), train_dataset=rows, stages=3)
    trainer.save_model()
    other = staged_cascade(seeded("Llama"), VOCABULARY, 2, sentences(8, 5), max_head_share=100.0)
    with pytest.raises(CheckpointError, match=r"stages that end after model\.layers\.\d, .*, not after .*: give stages=\['"):
        load_heads(other, tmp_path)
    cuts = [stage.cut for stage in trainer.cascade.plan.stages[:-1]]
    same = SIDTrainer(seeded("Llama"), arguments(tmp_path), train_dataset=rows, stages=cuts)
    load_heads(same.cascade, tmp_path)
    assert_close(same.cascade, trainer.cascade, 0.0)
    (tmp_path / "stage_heads.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_heads(same.cascade, tmp_path)


def of_learner(**settings: Any) -> Any:
    cascade = staged_cascade(seeded("BERT"), CLASSES, 2, sentences(8, 5), max_head_share=100.0)
    return SID(cascade, **settings)


def of_head(task: str, **settings: Any) -> Any:
    return getattr(transformers, f"AutoModel{task}").from_config(seeded("BERT", **settings).config)


def without_labels() -> Rows:
    return [{name: value for name, value in row.items() if name != "labels"} for row in texts("BERT")]


BAD: Mapping[str, tuple[Callable[[], Any], Mapping[str, Any], type[Exception], str]] = {
    "wrapped": (lambda: nn.DataParallel(seeded("BERT")), {}, CutError, r"wrapped by DataParallel"),
    "tied": (lambda: seeded("GPT-2", tie_word_embeddings=True), {}, ConfigError, r"hf\.untie\(model\), or freeze them"),
    "no model of theirs": (lambda: nn.Linear(2, 2), {}, ConfigError, "Linear is no model of transformers"),
    "regression": (lambda: seeded("BERT", num_labels=1), {}, ConfigError, "num_labels = 1 is regression"),
    "no logits": (lambda: of_head("ForQuestionAnswering", num_labels=2), {}, CutError, "start_logits, end_logits and no logits"),
    "float16": (lambda: seeded("BERT"), {"fp16": True}, ConfigError, "set bf16 = True"),
    "compiled": (lambda: seeded("BERT"), {"torch_compile": True}, ConfigError, "torch_compile = True hides"),
    "at once": (
        lambda: of_learner(update="stage"),
        {"gradient_accumulation_steps": 2, "max_grad_norm": 1.0},
        ConfigError,
        r"2 problems(?s:.*)set gradient_accumulation_steps = 1(?s:.*)set max_grad_norm = 0",
    ),
    "two optimisers": (
        lambda: (learner := of_learner()) and SID(learner.module, optimizer=torch.optim.SGD(learner.module.parameters())),
        {"label_smoothing_factor": 0.1},
        ConfigError,
        "2 problems(?s:.*)the learner has an optimiser(?s:.*)label_smoothing_factor",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_go_together_is_named(tmp_path: Path, case: str) -> None:
    model, settings, error, message = BAD[case]
    with pytest.raises(error, match=message):
        SIDTrainer(model(), arguments(tmp_path, **settings), train_dataset=texts("BERT"), stages=2)


def test_samples_without_labels_are_named(tmp_path: Path) -> None:
    for rows, message in ((without_labels(), "no labels, which every stage"), ([], "train_dataset has no sample")):
        with pytest.raises(ValueError, match=message):
            SIDTrainer(seeded("BERT"), arguments(tmp_path), train_dataset=rows, stages=2)
