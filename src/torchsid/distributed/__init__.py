"""Stages on many workers: the only folder that imports `torch.distributed`."""
