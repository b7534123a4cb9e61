"""Random damage to a run, to its data or to a picture: every command that reads them ends in a sentence or in the right result."""

import os
import shutil
import signal
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp

from tests.fuzz import data_sets
from tests.fuzz.accidents import damage
from tests.fuzz.case import Answer, BrokenPromiseError, command, without_reports
from tests.training.conftest import checkpoint_digests
from torchsid.training import Interrupted, loop, resolve, train
from torchsid.training.reporter import Reporter

FORMATS = ("digits", *data_sets.WRITERS)
SMALL = [
    *("training.epochs=2", "training.batch_size=16", "training.threads=1", "training.device=cpu", "data.validation=0.25"),
    *("training.checkpoint_every_seconds=0", "model.depth=2"),
]
NETWORKS = {  # by format, so that both kinds of network are damaged
    "digits": ["data.limit=60", "model.hidden=8", "model.feature_dim=8", "watch.conflict=false"],
    "folder": ["model.hidden=8", "model.feature_dim=8", "watch.conflict=false"],
    "idx": ["model.network=staged", "model.trunk=mlp", "model.width=12", "watch.conflict=false"],
    "parquet": ["model.network=staged", "model.trunk=simple-cnn", "model.width=4", "watch.conflict=false"],
    "archive": ["model.hidden=8", "model.feature_dim=8", "watch.conflict=false", "learner.teachers=last-epoch"],
}
VERBS = {
    "evaluate": ("evaluate", "RUN", "--data", "DATA", "--json", "OUT"),
    "predict": ("predict", "RUN", "PICTURE"),
    "audit": ("audit", "RUN", "--data", "DATA", "--json", "OUT"),
    "certify": ("certify", "RUN", "--data", "DATA", "--json", "OUT", "--page", "PAGE"),
    "exits": ("evaluate", "RUN", "--data", "DATA", "--exit-when", "confidence>0.3", "--json", "OUT"),
    "compare": ("compare", "RUN", "--json", "OUT"),
    "report": ("report", "RUN", "--out", "PAGE"),
}
SLOW = ("report", "certify", "compare")
PREDICTING = ("evaluate", "predict", "audit", "exits")
"""The verbs whose numbers come from the weights and the samples: they are what they were, or something says that they are not."""


@dataclass(frozen=True)
class Template:
    """A finished run, its data and a picture; nobody changes them."""

    run: Path
    data: Path
    picture: Path


class Stop(Reporter):
    """Ends a run after the first step of its second epoch."""

    def step(self, epoch: int, steps_done: int, *_: object) -> None:
        if (epoch, steps_done) == (2, 1):
            os.kill(os.getpid(), signal.SIGTERM)


@cache
def template(format_: str) -> Template:
    """Make a run of some steps, once a process."""
    root = Path(mkdtemp(prefix="fuzz-run-"))
    data = root / "data"
    settings = data_sets.write(format_, data) if format_ != "digits" else ["data.name=digits"]
    data.mkdir(exist_ok=True)
    config = resolve("digits", [*settings, *SMALL, *NETWORKS[format_]])
    train(config, root / "run")
    data_sets.write("folder", root / "pictures")
    return Template(root / "run", data, root / "pictures" / "train" / "class 0" / "0.png")


@cache
def interrupted(format_: str) -> Path:
    """Return the same run, interrupted in its second epoch."""
    run, seconds = template(format_).run.with_name("interrupted"), loop.REPORT_SECONDS
    loop.REPORT_SECONDS = -1.0
    try:
        train(resolve(template(format_).run / "config.toml"), run, reporter=Stop())
    except Interrupted:
        return run
    finally:
        loop.REPORT_SECONDS = seconds
    raise AssertionError("the run was not interrupted")


@cache
def undamaged(format_: str, verb: str) -> Answer:
    """Return what a command says as long as nothing is damaged."""
    made = template(format_)
    with_out = Path(mkdtemp(prefix="fuzz-out-"))
    shutil.copytree(made.run, with_out / "run")
    return said(verb, with_out / "run", made.data, made.picture, with_out)


def said(verb: str, run: Path, data: Path, picture: Path, out: Path) -> Answer:
    """Run a verb; its JSON file, without the folders, stands for what it printed."""
    places = {"RUN": run, "DATA": data, "PICTURE": picture, "OUT": out / "out.json", "PAGE": out / "page.html"}
    arguments = [places.get(word, word) for word in VERBS[verb]]
    if not any(data.iterdir()):
        arguments = [each for each, word in zip(arguments, VERBS[verb], strict=True) if word not in ("--data", "DATA")]
    answer = command(*arguments)
    if (out / "out.json").exists():
        text = (out / "out.json").read_text().replace(str(run), "RUN").replace(str(out), "OUT")
        return Answer(
            answer.code, text, answer.err + "".join(line for line in answer.out.splitlines() if "warning" in line.lower())
        )
    return answer


def trained(*arguments: str | Path) -> Answer:
    """Run `torchsid train` without its report, which takes longer than all the rest."""
    with without_reports():
        return command("train", *arguments, "--quiet")


def case(random: Random, folder: Path) -> str:
    """Damage one or two files, then run a verb that reads them."""
    what = random.choices([_run, _data, _picture], [6, 3, 1])[0]
    return what(random.choice(FORMATS if what is _run else FORMATS[1:]), random, folder)


def _run(format_: str, random: Random, folder: Path) -> str:
    made, verb = template(format_), random.choices([*VERBS, "resume"], [*(1 if verb in SLOW else 4 for verb in VERBS), 4])[0]
    run = folder / "run"
    shutil.copytree(interrupted(format_) if verb == "resume" else made.run, run)
    files = sorted(path for path in run.rglob("*") if path.is_file())
    done = _damaged(files, random.choice([1, 1, 1, 2]), random)
    if verb == "resume":
        shutil.copyfile(made.run / "config.toml", folder / "config.toml")
        return _resumed(made, run, folder / "config.toml", done)
    return _judged(format_, verb, said(verb, run, made.data, made.picture, folder), done)


def _damaged(files: list[Path], count: int, random: Random) -> str:
    return " and ".join(damage(path, random, files) for path in random.sample(files, min(count, len(files))))


def _resumed(made: Template, run: Path, config: Path, done: str) -> str:
    answer = trained(config, "--resume", "--out", run)
    if answer.code == 0 and checkpoint_digests(run) != checkpoint_digests(made.run):
        raise BrokenPromiseError(f"{done}: resumed to other weights without a word: {answer}")
    return f"resume: {_outcome(answer)}"


def _judged(format_: str, verb: str, answer: Answer, done: str) -> str:
    if answer.code == 0 and verb in PREDICTING and not answer.warned and answer.out != (right := undamaged(format_, verb)).out:
        raise BrokenPromiseError(
            f"{done}: torchsid {verb} says something else, without a word: {answer.out[-500:]} instead of {right.out[-500:]}"
        )
    return f"{verb}: {_outcome(answer)}"


def _outcome(answer: Answer) -> str:
    return "refused" if answer.code == 2 else "right, or warned"


def _data(format_: str, random: Random, folder: Path) -> str:
    made, data = template(format_), folder / "data"
    shutil.copytree(made.data, data)
    files = sorted(path for path in data.rglob("*") if path.is_file())
    done = _damaged(files, random.choice([1, 1, 3]), random)
    verb = random.choice(["train", "evaluate", "audit"])
    if verb == "train":
        bad = random.choice(["error", "skip"])
        settings = [f"--set=data.name={data_sets.WRITERS[format_][0]}", f"--set=data.cache={folder / 'cache'}", f"--data={data}"]
        small = [f"--set={each}" for each in (*SMALL, *NETWORKS[format_])]
        out = ["--out", folder / "new", "--on-bad-sample", bad]
        return f"train on damaged data: {_outcome(trained('digits', *settings, *small, *out))}"
    return _judged(format_, verb, said(verb, made.run, data, made.picture, folder), done)


def _picture(format_: str, random: Random, folder: Path) -> str:
    made, picture = template(format_), folder / "picture.png"
    shutil.copyfile(made.picture, picture)
    damage(picture, random, [made.picture, made.run / "config.toml", made.run / "checkpoints" / "last" / "model.safetensors"])
    return f"predict a damaged picture: {_outcome(command('predict', made.run, picture))}"
