"""A cascade that was exported stage by stage, run as far as each sample needs. Needs NumPy and onnxruntime alone.

    python cascade.py inputs.npy --exit-when 0.95          class, probability and stage of each sample, as JSON lines

or `Cascade(folder)(inputs, 0.95)`. A sample leaves at the first stage whose largest probability is above the threshold, and later
stages do not run for it. `Cascade(folder).about` has the names of the classes and what the inputs are.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class Cascade:
    """The stages in a folder, `stage-1.onnx` and so on."""

    def __init__(self, folder: str | Path) -> None:
        paths = sorted(Path(folder).glob("stage-*.onnx"), key=lambda path: int(path.stem.partition("-")[2]))
        if not paths:
            raise FileNotFoundError(f"{folder} has no stage-1.onnx")
        self.stages = [onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in paths]
        self.about: dict[str, Any] = json.loads(self.stages[0].get_modelmeta().custom_metadata_map["torchsid"])

    def __call__(self, inputs: np.ndarray[Any, Any], threshold: float = 1.0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return probabilities `[N, ..., C]` and the stage (from 1) that gave each, `[N]`; the last one answers for the unsure."""
        rows, values = np.arange(len(inputs)), [inputs]
        answers, depth = None, np.zeros(len(inputs), dtype=np.int64)
        for number, stage in enumerate(self.stages, 1):
            found = stage.run(None, {each.name: value for each, value in zip(stage.get_inputs(), values, strict=True)})
            belief = np.exp(found[-1])
            answers = np.empty((len(inputs), *belief.shape[1:]), belief.dtype) if answers is None else answers
            answers[rows], depth[rows] = belief, number
            unsure = ~(belief.max(-1) > threshold).reshape(len(belief), -1).all(1)
            rows, values = rows[unsure], [value[unsure] for value in found]
            if not len(rows):
                break
        assert answers is not None
        return answers, depth


def main() -> None:
    """Answer for a file of inputs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("inputs", help="a .npy file of inputs, [N, ...]")
    parser.add_argument("--exit-when", type=float, default=1.0, metavar="P", help="leave where the largest probability is above P")
    args = parser.parse_args()
    cascade = Cascade(Path(__file__).parent)
    names = cascade.about["class_names"]
    for belief, stage in zip(*cascade(np.load(args.inputs), args.exit_when), strict=True):
        best = belief.argmax(-1)
        said = names[best] if best.ndim == 0 else [names[each] for each in best.ravel()]
        print(json.dumps({"answer": said, "probability": np.round(belief.max(-1), 6).tolist(), "stage": int(stage)}))


if __name__ == "__main__":
    main()
