"""Pool to a vector, linear; vectors, tokens, maps."""

from torchsid.heads.pool import MeanPool


class LinearBody(MeanPool):
    """Mean over the positions, `[B, D]`: nothing else stands before the linear readout."""
