"""How one sample is shown on a page: an image, for now."""

import base64
from io import BytesIO

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from torchsid.errors import RunError

_LARGEST = 128  # pixels a side; more would only make the page heavy
_PIXELATED = 64  # up to this size pixels are shown as squares


def image_html(image: Tensor) -> str:
    """Return an `<img>` of one image, uint8 `[C, H, W]`, grey or colour, as a data URI.

    Raises:
        RunError: Pillow is missing.
    """
    try:
        from PIL import Image
    except ImportError:
        raise RunError("samples need Pillow; install it with pip install 'torchsid[files]'") from None
    height, width = image.shape[-2:]
    scale = _LARGEST / max(height, width)
    if scale < 1:
        size = (max(round(scale * height), 1), max(round(scale * width), 1))
        image = adaptive_avg_pool2d(image.float(), size).round().byte()
    buffer = BytesIO()
    pixels = image[0] if len(image) == 1 else image[:3].movedim(0, -1)
    Image.fromarray(pixels.contiguous().numpy()).save(buffer, format="PNG")
    style = ' style="image-rendering: pixelated"' if max(height, width) <= _PIXELATED else ""
    return f'<img alt="a sample" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode("ascii")}"{style}>'
