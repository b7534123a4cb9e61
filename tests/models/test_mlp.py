from torch import nn

from torchsid.models.mlp import MLP


def test_it_has_two_linear_layers() -> None:
    widths = [(m.in_features, m.out_features) for m in MLP(in_channels=3, image_size=8, feature_dim=10) if isinstance(m, nn.Linear)]
    assert widths == [(3 * 64, 256), (256, 10)]
