"""Every extra from the wheel, in an environment of its own: `python -m tests.wheel`, or `make wheel-check`; takes minutes.

The base has PyTorch and the wheel alone. An extra's environment sees the base's packages, and has besides only what the
extra brings. In the base, what the extra is for ends with a line that names the extra; with the extra, it works.
"""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LOGGERS = ("mlflow", "tensorboard", "wandb")
SMALL = "--set training.epochs=1 --set training.threads=1"
IMAGES = f"{SMALL} --set data.size=32 --set data.augment.crop=0 --set model.width=4 --set model.depth=2 --on-bad-sample error --out"
NETWORK = """
import torch, torchsid
from torch import nn
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
x = torch.randn(64, 8)
y = x[:, :3].argmax(-1)
cascade = torchsid.staged_cascade(model, 3, 2, x[:2], head="linear", max_head_share=9.0)
"""
HEIF = "import pillow_heif; pillow_heif.register_heif_opener()"


class Check(NamedTuple):
    """What an extra is for.

    Attributes:
        steps: commands, or Python; the first needs the extra. `{out}` is a directory for results.
        prepare: Python that makes files first, with what the extra brings.
    """

    steps: tuple[str, ...]
    prepare: str = ""


def pictures(ending: str, plugin: str = "") -> str:
    """Python that writes a folder of images."""
    return f"""
{plugin}
import random
from pathlib import Path
from PIL import Image
for i in range(24):
    folder = Path("images") / "ab"[i % 2]
    folder.mkdir(parents=True, exist_ok=True)
    noise = bytes(random.randrange(256) for _ in range(64 * 64 * 3))
    Image.frombytes("RGB", (64, 64), noise).save(folder / f"{{i}}.{ending}")
"""


def rows(first: str, other: str) -> str:
    """Python that writes a table."""
    return f"from pathlib import Path\nPath('rows.csv').write_text('\\n'.join(['{first}', *({other} for i in range(99))]))"


CHECKS = {
    "control": Check((f"torchsid train cartpole {SMALL} --set data.exploration=500 --set data.test=2 --out {{out}}",)),
    "files": Check(
        (f"torchsid train folder --data images {IMAGES} {{out}}", "torchsid predict {out} images --csv {out}/answers.csv"),
        pictures("png"),
    ),
    "heif": Check(
        (f"torchsid train folder --data images {IMAGES} {{out}}",),
        pictures("heic", HEIF),
    ),
    "hf": Check(
        (
            """
from torchsid.integrations.hf import SIDTrainer
import torch
from transformers import BertConfig, BertForSequenceClassification, TrainingArguments
sizes = dict(hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, vocab_size=64)
rows = [{"input_ids": torch.randint(64, (8,)), "labels": torch.tensor(i % 2)} for i in range(16)]
args = TrainingArguments("{out}", num_train_epochs=1, report_to="none", use_cpu=True)
trainer = SIDTrainer(BertForSequenceClassification(BertConfig(**sizes)), args, stages=2, train_dataset=rows)
trainer.train()
""",
        )
    ),
    "hub": Check(
        (
            "from torchsid.integrations.hub import from_pretrained, save_pretrained\n"
            "save_pretrained('../run', '{out}')\nfrom_pretrained('{out}')",
            f"torchsid train digits {SMALL} --set data.name=arrow --data stored --out {{out}}-run",
        ),
        """
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Picture
features = Features({"image": Image(), "label": ClassLabel(names=["dark", "light"])})
rows = {"image": [Picture.new("L", (8, 8), i % 2 * 200) for i in range(60)], "label": [i % 2 for i in range(60)]}
Dataset.from_dict(rows, features).save_to_disk("stored")
""",
    ),
    "jxl": Check((f"torchsid train folder --data images {IMAGES} {{out}}",), pictures("jxl", "import pillow_jxl")),
    "lightning": Check(
        (
            f"""
from torchsid.integrations.lightning import StagedModule
{NETWORK}
from lightning import Trainer
from torch.utils.data import DataLoader, TensorDataset
loader = DataLoader(TensorDataset(x, y), batch_size=16)
Trainer(max_epochs=1, logger=False, enable_checkpointing=False).fit(StagedModule(torchsid.SID(cascade)), loader, loader)
""",
        )
    ),
    "onnx": Check(
        (
            "torchsid export ../run --out {out}",
            "torchsid export ../run --exits --out {out}-stages",
            "import numpy, onnxruntime\n"
            "session = onnxruntime.InferenceSession('{out}/model.onnx')\n"
            "assert session.run(None, {'input_0': numpy.zeros((3, 1, 8, 8), numpy.uint8)})[0].shape == (3, 10)",
        )
    ),
    "report": Check(
        (
            "torchsid report ../run --out {out}.html",
            "torchsid certify ../run --page {out}-certificate.html",
            "torchsid compare ../run",
        )
    ),
    "sklearn": Check(
        (
            "from torchsid.integrations.sklearn import SIDClassifier\n"
            "from sklearn.datasets import load_iris\n"
            "X, y = load_iris(return_X_y=True)\n"
            "assert SIDClassifier(max_iter=30, random_state=0).fit(X, y).score(X, y) > 0.8",
        )
    ),
    "tabular": Check(
        (
            f"torchsid train breast-cancer {SMALL} --out {{out}}",
            f"torchsid train table --data rows.csv --set data.target=price {SMALL} --out {{out}}-own",
            "torchsid predict {out}-own rows.csv",
        ),
        rows("a,b,price", "f'{i % 7},{i % 5},{i % 7 + i}'"),
    ),
    **{name: Check((f"torchsid train digits {SMALL} --set 'training.loggers=[\"{name}\"]' --out {{out}}",)) for name in LOGGERS},
    "text": Check(
        (f"torchsid train trec --data rows.csv {SMALL} --out {{out}}", "torchsid predict {out} 'who is it'"),
        rows("text,label", 'f\'{("who is", "what was")[i % 2]} it {i},{i % 2}\''),
    ),
}


def run(python: Path, step: str, folder: Path, out: str) -> subprocess.CompletedProcess[str]:
    """Run a step with the interpreter of an environment."""
    step = step.replace("{out}", out)
    words = ["-m", *shlex.split(step)] if step.startswith("torchsid ") else ["-W", "ignore", "-c", step]
    return subprocess.run([python, *words], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def installed(python: Path, *what: str) -> None:
    """Install into an environment, in the versions of constraints.txt."""
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", *what], check=True)


def environment(folder: Path, base: Path | None = None) -> Path:
    """Make an environment, which sees the packages of `base`, and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    if base is not None:
        (packages,) = base.parents[1].glob("lib/python3*/site-packages")
        (own,) = folder.glob("lib/python3*/site-packages")
        (own / "base.pth").write_text(f"{packages}\n")
    return folder / "bin" / "python"


def problems_of(extra: str, check: Check, wheel: Path, base: Path, folder: Path) -> list[str]:
    """Return what goes wrong with an extra."""
    python = environment(folder / "environment", base)
    installed(python, f"{wheel}[{extra}]")
    problems = [f"brings another {name}" for name in ("torch", "torchvision") if list(folder.glob(f"environment/lib/*/*/{name}"))]
    if check.prepare and (made := run(python, check.prepare, folder, "")).returncode:
        problems.append(f"files: {made.stderr}")
    bare = run(base, check.steps[0], folder, "bare")
    last = bare.stderr.strip().rpartition("\n")[2]
    if not bare.returncode or f"torchsid[{extra}]" not in last:
        problems.append(f"without it: exit code {bare.returncode}, {last!r}")
    if check.steps[0].startswith("torchsid ") and "Traceback" in bare.stderr:
        problems.append(f"without it: {bare.stderr}")
    for step in check.steps:
        if (found := run(python, step, folder, "out")).returncode:
            problems.append(f"{step}: exit code {found.returncode}: {found.stderr[-2000:]}")
    return problems


def main() -> int:
    """Build, and check the extras that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=f"of {', '.join(CHECKS)}; all by default")
    names = parser.parse_args().extras or list(CHECKS)
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "offline",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_TRACKING_URI": "file:mlruns",
    }
    os.environ.pop("PYTHONPATH", None)
    with TemporaryDirectory() as temporary:
        folder, failed = Path(temporary), 0
        subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT], check=True, stdout=subprocess.DEVNULL
        )
        (wheel,) = folder.glob("*.whl")
        subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *folder.glob("torchsid-*")], check=True)
        base = environment(folder / "base")
        (torch,) = [line.strip() for line in (ROOT / "constraints.txt").open() if line.startswith("torch==")]
        installed(base, torch)
        installed(base, str(wheel))
        for step in (
            "torchsid --help",
            "torchsid doctor",
            f"torchsid train digits-staged {SMALL} --out run",
            *(f"torchsid {verb} run" for verb in ("evaluate", "compare", "certify", "audit")),
        ):
            if (found := run(base, step, folder, "")).returncode:
                raise SystemExit(f"no extra: {step}: {found.stderr}")
        for extra in names:
            (folder / extra).mkdir()
            problems = problems_of(extra, CHECKS[extra], wheel, base, folder / extra)
            print(f"{extra}: {'works' if not problems else ''}", *problems, sep="\n  " if problems else "", flush=True)
            failed += bool(problems)
    print(f"{len(names) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
