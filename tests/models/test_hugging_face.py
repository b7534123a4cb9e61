"""Models of transformers as trunks of texts and of language: by kind or by folder, with the tokens that a task stores."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests import hugging_face
from tests.fuzz.case import without_reports
from torchsid.cli.main import main
from torchsid.errors import ConfigError
from torchsid.learners.sid import SID
from torchsid.models import CLASSIFIERS, NETWORKS
from torchsid.models.hugging_face import untie
from torchsid.settings import build, settings_of
from torchsid.training import resolve

transformers: Any = pytest.importorskip("transformers", reason="pip install transformers")
tokenizers: Any = pytest.importorskip("tokenizers", reason="pip install tokenizers")

SIZES = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "llama": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
}
TEXTS = [("cat dog mouse", "animal"), ("rose oak", "plant"), ("a horse", "animal"), ("tree and grass", "plant")] * 6


def trunk(name: str) -> Any:
    return CLASSIFIERS.load(f"transformers:{name}")


def tokens(*lengths: int) -> torch.Tensor:
    return hugging_face.sentences(*lengths)["input_ids"]


@pytest.mark.parametrize("kind", ["bert", "distilbert", "gpt2"])
def test_a_classifier_of_a_kind_reads_no_padding(kind: str) -> None:
    x = tokens(8, 5)
    values = {"trunk": f"transformers:{kind}", "depth": 2, "max_head_share": 100.0, **SIZES[kind]}
    cascade: Any = build(NETWORKS.load("staged"), values, torch.full_like(x, 49), 3, ()).eval()
    assert cascade.model.model.config.vocab_size == 50
    padded = F.pad(x, (0, 4))
    assert cascade(x).shape == (2, 3)
    torch.testing.assert_close(cascade.log_beliefs(padded), cascade.log_beliefs(x))
    SID(cascade.train()).backward(x, torch.tensor([0, 2]))


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_a_language_model_of_a_kind_does_not_look_ahead(kind: str) -> None:
    x = tokens(8, 8)
    model = trunk(kind)(x, 50, "tokens", **SIZES[kind]).eval()
    parts = model.model
    assert parts.get_output_embeddings().weight is not parts.get_input_embeddings().weight
    assert not parts.config.use_cache
    logits, changed = model(x), x.clone()
    assert logits.shape == (2, 8, 50)
    changed[:, 5] = (x[:, 5] + 1) % 50
    assert torch.equal(model(changed)[:, :5], logits[:, :5])
    assert not torch.allclose(model(changed)[:, 5:], logits[:, 5:])


def test_the_settings_of_a_kind_are_those_of_its_configuration() -> None:
    found = settings_of(trunk("llama"))
    assert (found["hidden_size"].default, found["hidden_size"].annotation) == (4096, int)
    assert found["num_key_value_heads"].default == 0  # none, which the library makes that of the heads
    assert "vocab_size" not in found
    config = resolve("trec", ["model.trunk=transformers:bert", "model.hidden_size=32"])
    assert config.model.hidden_size == 32
    for wrong, message in (
        ("model.hiden_size=32", "did you mean 'model.hidden_size'"),
        ("model.hidden_size='wide'", "model.hidden_size"),
    ):
        with pytest.raises(ConfigError, match=message):
            resolve("trec", ["model.trunk=transformers:bert", wrong])
    with pytest.raises(ConfigError, match=r"no folder with a config.json, and no kind .*\(did you mean 'bert'\?\)"):
        resolve("trec", ["model.trunk=transformers:brt"])


def saved(folder: Path, kind: str, **settings: Any) -> str:
    """A folder with a model and its own tokenizer, which frames every text."""
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="?"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.WordLevelTrainer(special_tokens=["[PAD]", "?", "[CLS]", "[SEP]"])
    words.train_from_iterator([text for text, _ in TEXTS], trainer)
    frame = [("[CLS]", 2), ("[SEP]", 3)]
    words.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=frame)
    words.enable_padding(length=9)  # which is not for us
    hugging_face.build(kind, vocab_size=words.get_vocab_size(), num_labels=2, **settings).save_pretrained(folder)
    words.save(str(folder / "tokenizer.json"))
    return str(folder)


def test_a_folder_with_its_own_tokenizer_trains_and_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, run = saved(tmp_path / "bert", "BERT"), str(tmp_path / "run")
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in TEXTS))
    small = ["training.epochs=1", "data.length=8", "model.max_head_share=100.0"]
    given = [f"data.path={tmp_path / 'texts.csv'}", "data.name=", f"data.tokens={folder}/tokenizer.json", *small]
    chosen = [f"--set={each}" for each in (*given, f"model.trunk=transformers:{folder}")]
    with without_reports():
        assert main(["train", "trec", *chosen, "--out", run]) == 0
    capsys.readouterr()
    assert main(["predict", run, "a horse"]) == 0
    said = capsys.readouterr()
    assert "animal" in said.out
    assert "MISSING" not in said.out + said.err


@pytest.mark.parametrize(
    ("kind", "vocabulary", "length", "message"),
    [
        ("BERT", 13, 8, r"has a vocabulary of 14, but the data are of 13: set data.tokens to .*tokenizer.json"),
        ("BERT", 14, 20, "the model has 16 positions, but samples have 20 tokens"),
        ("GPT-2 classifier", 14, 8, "has no token for padding: set pad_token_id"),
    ],
)
def test_a_folder_that_does_not_fit_is_named(tmp_path: Path, kind: str, vocabulary: int, length: int, message: str) -> None:
    folder = saved(tmp_path, kind, **({"pad_token_id": None} if "GPT" in kind else {}))
    with pytest.raises(ValueError, match=message):
        trunk(folder)(torch.full((2, length), vocabulary), 2)


def test_a_causal_model_of_a_folder_has_its_weights_and_a_readout_of_its_own(tmp_path: Path) -> None:
    folder = saved(tmp_path, "GPT-2", tie_word_embeddings=True)
    theirs, x = transformers.AutoModelForCausalLM.from_pretrained(folder).eval(), tokens(8, 8) % 14
    ours = trunk(folder)(x, 14, "tokens")
    assert ours.model.lm_head.weight is not ours.model.transformer.wte.weight
    assert torch.equal(ours.eval()(x), theirs(x).logits)


def test_a_model_that_is_untied_is_saved_whole(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 20}
    model = transformers.BertForMaskedLM(transformers.BertConfig(**sizes))
    readout = untie(model).get_output_embeddings()
    assert readout.weight is not model.get_input_embeddings().weight
    torch.nn.init.normal_(readout.weight)
    torch.nn.init.normal_(readout.bias)
    model.save_pretrained(tmp_path)
    loaded = transformers.BertForMaskedLM.from_pretrained(tmp_path)
    torch.testing.assert_close(dict(loaded.state_dict()), dict(model.state_dict()), rtol=0, atol=0)
    assert untie(loaded) is loaded
