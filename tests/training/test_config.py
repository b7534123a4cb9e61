"""Recipes, overrides and choices: what is set, what is dropped, and what is said of mistakes."""

import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from torchsid.errors import ConfigError
from torchsid.training import load_recipe, recipe_names, resolve, to_toml
from torchsid.training.config import config_sha256, differences
from torchsid.training.recipes import describe


def problems(recipe: str | Path, *overrides: str) -> tuple[str, ...]:
    try:
        resolve(recipe, overrides)
    except ConfigError as error:
        return error.problems
    return ()


def test_overrides_are_toml_and_otherwise_text() -> None:
    config = resolve("digits", ["training.epochs=3", "learner.alpha=0.7", "label=my run", "training.compile=true"])
    assert (config.training.epochs, config.learner.alpha, config.label, config.training.compile) == (3, 0.7, "my run", True)
    assert resolve("digits", ["label=1\nrecipe = 2"]).label == "1\nrecipe = 2"  # a value smuggles in no second key


def test_a_file_extends_a_shipped_recipe_and_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "digits"\nlabel = "mine"\n[training]\nepochs = 4\n')
    (tmp_path / "other.toml").write_text('extends = "mine.toml"\n[learner]\nalpha = 0.9\n')
    config = resolve(tmp_path / "other.toml")
    assert (config.recipe, config.label, config.training.epochs, config.learner.alpha) == ("other", "other", 4, 0.9)
    assert config.model == resolve("digits").model


def test_another_choice_drops_what_it_does_not_know_and_keeps_the_rest() -> None:
    sid = ["learner.alpha=0.7", "learner.label_smoothing=0.2"]
    config = resolve("digits", [*sid, "learner.name=gce", "learner.q=0.3"])
    assert asdict(config.learner) == {"name": "gce", "q": 0.3, "label_smoothing": 0.2}
    plain = resolve("digits-staged", ["learner.name=backprop", "model.network=plain"])
    assert (plain.model.trunk, hasattr(plain.model, "depth")) == ("mlp", False)
    assert resolve("digits", ["model.extractor=simple-cnn"]).model.extractor == "simple-cnn"


def test_what_the_same_layer_sets_stays_to_be_reported(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "digits"\n[learner]\nname = "gce"\nalpha = 0.5\n')
    (problem,) = problems(path)
    assert "'learner.alpha'" in problem


@pytest.mark.parametrize("name", recipe_names())
def test_a_written_configuration_reads_back_equal(name: str, tmp_path: Path) -> None:
    config = resolve(name, ["training.checkpoint_every_seconds=1e-7", 'label=quo"te \\ 🧀\t\n\x7f'])
    (tmp_path / "config.toml").write_text(to_toml(config), "utf-8")
    again = resolve(tmp_path / "config.toml")
    assert again == config
    assert config_sha256(again) == config_sha256(config)


def test_equality_checksum_and_differences_follow_the_settings() -> None:
    config = resolve("digits")
    assert config == resolve("digits", ["learner.alpha=auto", "learner.direction=forward"])
    for override in ("training.seed=1", "learner.alpha=0.4", "data.noise.seed=1"):
        other = resolve("digits", [override])
        assert other != config
        assert config_sha256(other) != config_sha256(config)
    assert config_sha256(resolve("digits", ["distributed.queue=5"])) == config_sha256(config)
    assert differences(config, config) == []
    assert differences(config, resolve("digits", ["training.seed=1"])) == ["training.seed: 0 -> 1"]
    found = differences(config, resolve("digits", ["learner.name=gce"]))
    assert {"learner.name: 'sid' -> 'gce'", "learner.alpha: 'auto' -> absent", "learner.q: absent -> 0.7"} <= set(found)
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        replace(config.training, seed=-3)  # a changed copy is checked too


def test_settings_are_described_with_value_range_and_meaning() -> None:
    rows = {name: rest for name, *rest in describe(resolve("digits-staged", ["learner.alpha=0.7"]))}
    config = tomllib.loads(to_toml(resolve("digits-staged")))
    assert rows.keys() >= {f"{section}.{key}" for section in ("model", "learner", "training", "watch") for key in config[section]}
    assert rows["learner.alpha"][0] == 0.7
    assert "resnet-18" in rows["model.trunk"][1]
    assert all(text and (text[0].isupper() or not text[0].isascii() or text[0] == "`") for _, _, text in rows.values())


@pytest.mark.parametrize("recipe", ["digits", "digits-staged", "digits-noise-gce"])
def test_every_misspelt_key_is_refused_and_the_right_one_named(recipe: str) -> None:
    for name, *_ in describe(resolve(recipe)):
        section, _, leaf = name.rpartition(".")
        middle = len(leaf) // 2
        wrong = f"{section}.{leaf[:middle]}{'q' if leaf[middle] != 'q' else 'z'}{leaf[middle + 1 :]}"
        (problem,) = problems(recipe, f"{wrong}=1")
        assert f"unknown key {wrong!r}" in problem
        assert name in problem or leaf in problem.partition(";")[2]


MISTAKES = [
    ("digits", "learner.alpha=1.5", "[0, 1]"),
    ("digits", "learner.alpha=[0.5, -0.1, 0.5, 0.5, 0.5]", "[0, 1]"),
    ("digits", "learner.alpha=linear:1.0", "linear:FIRST:LAST"),
    ("digits", "learner.alpha=linear:nan:1", "[0, 1]"),
    ("digits", "learner.direction=reverse", "label_smoothing"),
    ("digits", "learner.alpha_over=epoch", "did you mean 'epochs'"),
    ("digits", "learner.name=gcee", "did you mean 'gce'"),
    ("digits", "learner.name=os:sep", "name a class"),
    ("digits", "learner.name=decimal:Decimal", "learner.name = 'decimal:Decimal'"),
    ("digits", "learner.name=no.such:Method", "PYTHONPATH"),
    ("digits", "data.name=digit", "did you mean 'digits'"),
    ("digits", "task=image", "did you mean 'images'"),
    ("digits", "optimizer.name=adamm", "did you mean 'adam'"),
    ("digits", "optimizer.learning_rate=0", "optimizer.learning_rate = 0"),
    ("digits", "optimizer.learning_rate=nan", "optimizer.learning_rate = nan"),
    ("digits", "training.epochs=0", "training.epochs = 0"),
    ("digits", "training.epochs=true", "training.epochs = True"),
    ("digits", "training.epochs=2026-01-01", "training.epochs = '2026-01-01'"),
    ("digits", "training=3", "training is a section"),
    ("digits", "data.augment=3", "data.augment is a section"),
    ("digits", "training.epochs", "KEY=VALUE"),
    ("digits", "learning_rate=0.1", "'optimizer.learning_rate'"),
    ("digits", "trainig.epochs=3", "did you mean 'training'"),
    ("digits", "data.noise.kind=column", "noise.column"),
    # where settings of earlier versions are now
    ("digits", "augment.crop=1", "'data.augment'"),
    # settings that the chosen network or method does not have
    ("digits", "model.trunk=mlp", "unknown key"),
    ("digits-bp-plain", "model.depth=3", "unknown key"),
    ("digits-noise-gce", "learner.beta=0.3", "unknown key"),
    # methods and networks
    ("digits", "learner.window=2", "staged cascade"),
    ("digits", "learner.update=stage", "staged cascade"),
    ("digits-staged", "learner.window=5", "set it to 4"),
    ("digits-staged", "learner.schedule=batched", "shared cascade"),
    ("digits-staged", "learner.name=backprop", "set model.network = 'plain'"),
    ("digits-staged", "learner.name=deep-supervision", "set model.network = 'cascade'"),
    ("digits-bp-plain", "learner.name=sid", "another method"),
    ("digits-noise-elr", "data.augment.mixup=0.2", "blends"),
    ("digits", "learner.alpha_over=epochs", "needs a schedule"),
    # the optimiser and the loop
    ("digits", "optimizer.momentum=0.9", "optimizer.name = 'sgd'"),
    ("digits", "optimizer.schedule=one-cycle", "optimizer.warmup"),
    ("digits", "optimizer.head_learning_rate=0.1", "model.network = 'staged'"),
    ("digits-staged", "watch.conflict=true", "shared extractor"),
    ("digits", "watch.on_no_descent=stop", "watch.certify = true"),
]


@pytest.mark.parametrize(("recipe", "override", "words"), MISTAKES)
def test_a_mistake_is_one_problem_that_names_setting_and_way_out(recipe: str, override: str, words: str) -> None:
    (problem,) = problems(recipe, override)
    assert words in problem


def test_all_problems_come_at_once() -> None:
    overrides = ["model.extractor=x", "learner.alhpa=1", "optimizer.name=x", "training.epochs=0", "nonsense", "data.name=x"]
    found = problems("digits", *overrides, "watch.certify=1")
    assert len(found) == 7
    for word in ("extractor", "alhpa", "data.name", "optimizer.name", "training.epochs", "nonsense", "watch.certify"):
        assert any(word in problem for problem in found)
    overrides = ["learner.combine=mean", "training.patience=3", "data.validation=0.0", "watch.on_no_descent=stop"]
    assert len(problems("digits-staged", *overrides)) == 3
    assert problems("digits", "model.network=staged", "watch.conflict=false") == ("model.trunk is required",)
    table = {key: value for key, value in load_recipe("digits").items() if key != "label"}
    with pytest.raises(ConfigError, match="label is required"):
        resolve(table)


def test_what_needs_two_settings_is_content_with_them() -> None:
    over_epochs = ["learner.alpha_over=epochs", "learner.alpha=linear:1.0:0.2"]
    (problem,) = problems("digits", *over_epochs, "training.epochs=1")
    assert "2 epochs" in problem
    (problem,) = problems("digits", "optimizer.name=sgd", "optimizer.nesterov=true")
    assert "optimizer.momentum above 0" in problem
    for override in ("learner.window=2", "optimizer.clip_gradient=1.0", "training.on_non_finite=skip"):
        (problem,) = problems("digits-staged", "learner.update=stage", override)  # which need the whole gradient
        assert "update = 'stage'" in problem
        assert override.partition("=")[0].rpartition(".")[2] in problem
        assert not problems("digits-staged", override)
    for recipe, *overrides in (
        ("digits", *over_epochs, "training.epochs=2"),
        ("digits", "learner.direction=reverse", "learner.label_smoothing=0.1"),
        ("digits", "optimizer.name=sgd", "optimizer.nesterov=true", "optimizer.momentum=0.9"),
        ("digits-staged", "training.compile=true"),
        ("digits-staged", "learner.window=4"),
        ("digits-noise-gce", "data.augment.mixup=0.2", "model.network=plain"),
    ):
        assert not problems(recipe, *overrides)


def test_recipes_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for name, base in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.toml").write_text(f'extends = "{base}.toml"\n')
    assert "circle" in problems(tmp_path / "a.toml")[0]
    assert "did you mean 'digits'" in problems("digit")[0]
    path = tmp_path / "c.toml"
    for content in (None, b"a = ", b"\xff\xfe"):
        if content is not None:
            path.write_bytes(content)
        assert "c.toml" in problems(path)[0]
    for content, words in (
        ("extends = 'digits'".encode("utf-16"), "is UTF-16, or no text: save it as UTF-8"),
        ("extends = 'digits'".encode("utf-16-le"), "save it as UTF-8"),
        (b"label = '\xe9'", "not UTF-8 at byte 9"),
        (b"a = " + 5000 * b"[", "not valid TOML"),
        (b"a = " + 5000 * b"9", "not valid TOML"),
        (b'extends = "a\\u0000.toml"', "cannot read"),
    ):
        path.write_bytes(content)
        (problem,) = problems(path)
        assert words in problem
        assert len(problem) < 500
    path.write_text('extends = "digits"\n[trainig]\nepochs = 4\nseed = 1\n')
    assert problems(path) == ("unknown key 'trainig' (did you mean 'training'?)",)


@pytest.mark.parametrize("name", ["mine.toml", "MINE.TOML"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_recipe_is_read_as_any_editor_saves_it(tmp_path: Path, name: str, mark: bytes, end: bytes) -> None:
    (tmp_path / name).write_bytes(mark + end.join([b'extends = "digits"', b'label = "n\xc3\xa9"', b"[training]", b"epochs = 4"]))
    config = resolve(tmp_path / name)
    assert (config.recipe, config.label, config.training.epochs) == (name.partition(".")[0], "né", 4)


EXTREMES = [
    "training.epochs=" + 5000 * "9",
    "training.batch_size=0x" + 5000 * "f",
    "training.epochs=" + 3000 * "[",
    "training.epochs=" + 20 * "[" + 20 * "]",
    f"training.seed={2**64}",
    f"training.seed={2**53 + 1}",
    "training.seed=-1",
    "training.threads=2147483648",
    "training.epochs=1.0",
    "training.seed=true",
    "optimizer.learning_rate=true",
    "optimizer.learning_rate=-inf",
    "learner.temperature=1e-300",
    "learner.temperature=inf",
    "data.augment.mixup=nan",
    "data.noise={kind='symmetric',rate=0.4,seed=-5}",
    "data.noise.rate=nan",
    "distributed.timeout=1e300",
    "model.depth=100000000000",
    "label=\udcff",
    "data.path=a\0b",
    "label=" + 5000 * "x",
    "recipe=../elsewhere",
    "recipe=.hidden",
    "recipe=a/b",
    "learner." + 5000 * "x" + "=1",
    "learner." + 5000 * "x." + "y=1",
    "data.name=" + 4000 * "x",
    "optimizer.name=" + 4000 * "x",
    "learner.alpha=[inf]",
]


@pytest.mark.parametrize("override", EXTREMES, ids=lambda override: ascii(override[:40]))
def test_extremes_are_one_short_problem_that_names_the_setting(override: str) -> None:
    (problem,) = problems("digits", override)
    assert override[:9].partition("=")[0] in problem
    assert len(problem) < 500
    assert problem == problem.encode(errors="replace").decode()
    assert len(problems("digits", override, "training.epocs=1")) == 2


def test_a_circle_is_found_by_where_the_files_lie(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "./b.toml"\n')
    (tmp_path / "b.toml").write_text(f'extends = "../{tmp_path.name}/a.toml"\n')
    (problem,) = problems(tmp_path / "a.toml")
    assert "circle" in problem
    (tmp_path / "x").mkdir()
    (tmp_path / "c.toml").write_text('extends = "x/c.toml"\n')
    (tmp_path / "x" / "c.toml").write_text('extends = "digits"\nlabel = "of another file of that name"\n')
    assert resolve(tmp_path / "c.toml").recipe == "c"
