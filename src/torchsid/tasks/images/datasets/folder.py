"""Your own images: PATH/train/<class>/*.png and, if there is one, PATH/test/<class>/*.png."""

from torchsid.tasks.images.folder import FolderSource
from torchsid.tasks.images.raw import RawSet
from torchsid.tasks.images.sources import Request, read_files


def folder(request: Request) -> RawSet:
    """Return the data set below `request.path`; see `read_files`."""
    return read_files(request, FolderSource(), one_fingerprint=True)
