"""Which files below a folder are images, what is left out, and how much of it there is: millions, one folder at a time."""

import os
import re
import stat
from bisect import insort
from collections.abc import Iterable, Iterator
from itertools import islice

from torchsid.errors import printable
from torchsid.tasks.files import File

_NAMED_IMAGE = re.compile(
    r".+\.(apng|avif|bmp|dib|gif|hei[cf]|hif|ico|j2k|jfif|jp2|jpe|p?jpe?g|jxl|p[bgnp]m|pjp|png|qoi|tga|tiff?|webp)", re.IGNORECASE
)
"""What is an image by its name. A file of another name is one by its first bytes."""
_IMAGE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|RIFF....WEBP|....ftyp(avi|hei|hev|mif1)|\xff\x0a|\0{3}\x0cJXL ", re.DOTALL)
_CLUTTER = re.compile(r"\._.*|\.ds_store|thumbs\.db|ehthumbs\.db|desktop\.ini|icon\r|__macosx", re.IGNORECASE)
"""What systems leave in folders and nobody means."""
_LOCKED = "folders that cannot be read"
_SHOWN = 3


class Scan:
    """Looks through a folder.

    Attributes:
        root: the folder; all names are below it.
        remarks: what was read otherwise than it may seem, a sentence each.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.fspath(root)
        self.remarks: list[str] = []
        self._left_out: dict[str, tuple[int, list[str]]] = {}

    @property
    def notes(self) -> list[str]:
        """The remarks, and a sentence with the number and the first names for each kind of thing that was left out."""
        sentences = (f"{kind}: {count} left out ({listing(names)})" for kind, (count, names) in self._left_out.items())
        return [*self.remarks, *sentences]

    def path(self, name: str) -> str:
        """Return where a file or folder lies."""
        return os.path.join(self.root, name)  # noqa: PTH118 - a `Path` for each of millions takes minutes

    def leave_out(self, kind: str, left_out: Iterable[str]) -> None:
        """Count what is left out; of the names only the first are kept."""
        for name in left_out:
            count, names = self._left_out.get(kind, (0, []))
            insort(names, name)
            self._left_out[kind] = count + 1, names[: _SHOWN + 1]

    def file(self, name: str) -> File:
        """Return what is known of a file."""
        try:
            status = os.stat(self.path(name))  # noqa: PTH116
        except OSError:
            return File(name)
        return File(name, status.st_size, status.st_mtime_ns)

    def inside(self, folder: str = "") -> Iterator[tuple[str, bool]]:
        """Yield what lies in a folder, and whether it is a folder itself, in the order of the names; nothing hidden."""
        names, folders = list[str](), set[str]()
        try:
            with os.scandir(self.path(folder)) as entries:
                for entry in entries:
                    names.append(entry.name)
                    if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path)):  # noqa: PTH112
                        folders.add(entry.name)
        except OSError:
            self.leave_out(_LOCKED, [folder or "."])
        names.sort()
        above = f"{folder}/" if folder else ""
        for name in names:
            if _CLUTTER.fullmatch(name):
                continue
            if name.startswith("."):
                self.leave_out("hidden files or folders", [above + name])
            else:
                yield above + name, name in folders

    def image(self, name: str) -> File | None:
        """Return a file if it is an image by its name, or else by its first bytes; what cannot be read is one, and a bad one."""
        path = self.path(name)
        try:
            status = os.stat(path)  # noqa: PTH116
            if not stat.S_ISREG(status.st_mode):
                self.leave_out("pipes, sockets or devices", [name])
                return None
            if not _NAMED_IMAGE.fullmatch(name):
                with open(path, "rb") as file:  # noqa: PTH123
                    if not _IMAGE.match(file.read(16)):
                        self.leave_out("files that are no images", [name])
                        return None
        except OSError:
            return self.file(name)
        return File(name, status.st_size, status.st_mtime_ns)

    def images(self, folder: str = "") -> Iterator[File]:
        """Yield the images in a folder and in all folders in it, in the order of their names.

        What is linked counts, but no folder twice, nor one above.
        """
        parts = folder.split("/") if folder else []
        seen = {self._identity("/".join(parts[:end])) for end in range(len(parts))}
        ahead = [iter([(folder, True)])]
        while ahead:
            name, is_folder = next(ahead[-1], ("", None))
            if is_folder is None:
                ahead.pop()
            elif not is_folder:
                if image := self.image(name):
                    yield image
            elif not (identity := self._identity(name)):
                self.leave_out(_LOCKED, [name])
            elif identity in seen:
                self.leave_out("links to folders that are read already", [name])
            else:
                seen.add(identity)
                ahead.append(self.inside(name))

    def _identity(self, folder: str) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path(folder))  # noqa: PTH116
        except OSError:  # it has gone, or what it lies in is locked
            return None
        return status.st_dev, status.st_ino


def listing(names: Iterable[str]) -> str:
    """Return the first few names, for a sentence."""
    first = [printable(name) for name in islice(names, _SHOWN + 1)]
    return ", ".join([*first[:_SHOWN], *(["…"] if len(first) > _SHOWN else [])])
