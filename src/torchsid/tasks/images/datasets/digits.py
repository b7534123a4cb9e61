"""1,797 scans of handwritten digits, 8x8 grey, 10 classes; part of the package.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0; the part distributed with scikit-learn, unchanged.
A pixel of the source counts the dark points of a 4x4 block, 0 to 16; it is stored as it is and scaled to 0 … 255 here.
"""

from importlib import resources

import numpy as np

from torchsid.tasks.images.raw import RawPart, RawSet
from torchsid.tasks.images.request import Request
from torchsid.tasks.splitting import every_fifth


def digits(request: Request) -> RawSet:
    """Return the digits; the test set is every fifth sample of each class (`every_fifth`)."""
    with resources.files("torchsid.tasks.images").joinpath("digits.npz").open("rb") as file, np.load(file) as stored:
        counts, labels = stored["images"], stored["labels"]  # [1797, 8, 8] in 0 … 16; [1797]
    pixels = np.rint(counts * (255 / 16)).astype(np.uint8)
    whole = RawPart.complete(pixels[:, None], labels)
    train, test = map(whole.take, every_fifth(whole.labels))
    return RawSet(train=train, test=test, class_names=tuple("0123456789"))
