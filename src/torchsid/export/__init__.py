"""Trained networks as graphs for other runtimes: ONNX and `torch.export`, whole or one stage at a time."""
