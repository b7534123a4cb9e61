"""Whether fewer bits are faster: a run's classifier by PyTorch, and by onnxruntime in float32 and in int8, on one thread.

    python benchmarks/compress_time.py RUN --out benchmarks/results/compress-time

Needs onnx, onnxscript and onnxruntime. onnxruntime quantises weights and activations itself, by rounding, on training images of the
run; it takes no weights of 4 or 3 bits here. The contenders take turns; seconds are those of the processor, medians over the turns.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from torchsid.core.staged import StagedCascade
from torchsid.study.compression import calibration
from torchsid.training import load_network
from torchsid.training.provenance import provenance
from torchsid.training.setup import build_task

IMAGES, TURNS = 256, 15  # to calibrate on


def sessions(model: torch.nn.Module, x: torch.Tensor, read: list[np.ndarray], folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the model in onnxruntime, as it is and quantised on what it reads."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(read)

        def get_next(self) -> dict[str, np.ndarray] | None:
            found = next(self.left, None)
            return None if found is None else {"x": found}

    whole, small = (folder / f"{name}.onnx" for name in ("whole", "small"))
    shapes = ({0: torch.export.Dim("batch", min=1, max=4096)},)
    torch.onnx.export(model, (x,), str(whole), input_names=["x"], dynamic_shapes=shapes, dynamo=True, verbose=False)
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}  # two signed ones are slower on this processor
    quantize_static(str(whole), str(small), Reader(), per_channel=True, **kinds)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for name, path in (("onnxruntime, float32", whole), ("onnxruntime, int8", small)):
        yield name, onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="of the record, without its suffix")
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = load_network(args.run, "last")
    splits = build_task(network.config).like(network.about).load(network.config.training.seed)
    module = network.learner.module
    model = (module.model if isinstance(module, StagedCascade) else module).eval().to(memory_format=torch.contiguous_format)
    fast = deepcopy(model).to(memory_format=torch.channels_last)
    read = [x.contiguous().numpy() for x in calibration(network, splits.train, IMAGES)]
    x = network.prepare(splits.test.inputs[:]).contiguous()

    def torch_answers(x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return fast(x.contiguous(memory_format=torch.channels_last))

    def bfloat16_answers(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return torch_answers(x).float()

    answers: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "PyTorch, float32": torch_answers,
        "PyTorch, bfloat16": bfloat16_answers,
    }
    with TemporaryDirectory() as folder:
        for name, session in sessions(model, x[:2], read, Path(folder)):
            answers[name] = lambda x, session=session: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])
        rows = []
        accuracy = {}
        for name, answer in answers.items():
            right = torch.cat([answer(part).argmax(1) for part in x.split(500)]) == splits.test.target[:]
            accuracy[name] = float(right.double().mean())
        for batch in (1, 64):
            part, taken = x[:batch].contiguous(), {name: [] for name in answers}
            for _ in range(TURNS):
                for name, answer in answers.items():
                    answer(part)
                    began = time.process_time()
                    answer(part)
                    taken[name].append((time.process_time() - began) / batch)
            seconds = {name: statistics.median(each) for name, each in taken.items()}
            rows += [{"batch": batch, "by": name, "ms": 1000 * each, "accuracy": accuracy[name]} for name, each in seconds.items()]
    versions = {name: version(name) for name in ("onnx", "onnxruntime")}
    command = f"python benchmarks/compress_time.py RUN --out {args.out.name}"
    record = {"command": command, "provenance": provenance(), **versions, "n": len(x), "turns": TURNS, "rows": rows}
    args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    lines = ["| batch | by | ms an image | accuracy, % |", "| --- | --- | --- | --- |"]
    lines += [f"| {row['batch']} | {row['by']} | {row['ms']:.2f} | {100 * row['accuracy']:.2f} |" for row in rows]
    args.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
