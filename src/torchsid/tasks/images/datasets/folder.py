"""Your own images, a folder for each class: PATH/<class>/*, or PATH/train/<class>/* with val/ and test/ beside it."""

from torchsid.tasks.images import folders
from torchsid.tasks.images.decoded import decoded
from torchsid.tasks.images.raw import RawSet
from torchsid.tasks.images.request import Request


def folder(request: Request) -> RawSet:
    """Return the images below `request.path`; `folders.find` says which they are, and of which class and part.

    Raises:
        DataError: there are no such folders, a class has no image, or images are damaged or differ in size.
    """
    return decoded(folders.find(request), request)
