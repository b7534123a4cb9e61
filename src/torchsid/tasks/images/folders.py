"""Which class and part the images below a folder are of: by the names of the folders, or by a list."""

import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from torchsid.errors import DataError, bullets, did_you_mean, printable
from torchsid.tasks import ledger
from torchsid.tasks.domain import PARTS
from torchsid.tasks.files import File, Files
from torchsid.tasks.images.encoded import Catalogue, Encoded, unchanged
from torchsid.tasks.images.lists import listed
from torchsid.tasks.images.request import Request
from torchsid.tasks.images.scan import Scan, listing
from torchsid.tasks.images.sources import root_of
from torchsid.tasks.parts import PART_OF, part_of
from torchsid.tasks.splitting import a_fifth

_EMPTY = "folders without an image"


Labelled = Iterator[tuple[File, str]]
"""Images with the names of their classes."""


def find(request: Request) -> Catalogue:
    """Find the images below a folder, whatever is nested in the class folders; classes and files in the order of their names.

    Which they are is said by the folders, or by a file in it (`request.files`, see `lists.listed`). Without a test set a fifth of
    each class is kept for one: every fifth image where there is a `train/`, else images drawn by lot. Class folders without an
    image are left out where bad samples are.

    Raises:
        DataError: there are none; names what was looked for, or all that is in the way.
    """
    root, lists, lenient = root_of(request), request.files, request.on_bad_sample == "skip"
    scan, empty = Scan(root), list[str]()
    sources: Sequence[str] = ()
    if lists:
        sources, named, bare = listed(scan, lists, request.read_elsewhere)
        parts = {part: _labelled(scan, images) for part, images in named.items()}
    else:
        inside = list(scan.inside())
        folders = _part_folders(scan, inside)
        bare = not folders
        within = {part: scan.inside(folder) for part, folder in folders.items()} or {"train": iter(inside)}
        parts = {part: _by_class(scan, entries, empty) for part, entries in within.items()}
    codes, numbers, counts = dict[str, int](), array("q"), dict[str, int]()
    classes: dict[str, set[str]] = {}

    def images() -> Iterator[File]:
        for part, pairs in parts.items():
            counts[part], classes[part] = 0, set()
            for file, label in pairs:
                counts[part] += 1
                classes[part].add(label)
                numbers.append(codes.setdefault(label, len(codes)))
                yield file
        yield from map(scan.file, sources)

    files = Files.of(images())
    if not lists and not bare and not classes["train"]:
        scan.remarks.append(f"{folders['train']}/ has no class folder with an image: if it is a class itself, rename it")
    if lenient or bare:
        scan.leave_out(_EMPTY, empty)
        empty = []
    if not classes.get("train"):
        raise DataError(
            f"no files of folder in {printable(str(root))} (data.path){''.join(f'; {note}' for note in scan.notes)}; looked for:\n"
            "  - images in train/<class>/, with val/<class>/ or test/<class>/ beside it\n  - images in <class>/\n"
            "  - what data.files names: a list such as train.txt, or a CSV file with the columns path, label and split"
        )
    problems = [*_problems(classes, scan, lenient=lenient)]
    problems += [f"class {name.rpartition('/')[2]!r} has no image in {root / name}" for name in empty]
    if problems:
        raise DataError(f"the image folder cannot be used:{bullets(map(printable, problems), len(problems))}")
    names = tuple(sorted(classes["train"]))
    order = {name: number for number, name in enumerate(names)}
    labels = np.array([order[name] for name in codes], dtype=np.int64)[np.array(numbers, dtype=np.int64)]
    sha256s = ledger.sha256s(request.cache, request.name, root, files, lists)
    return Catalogue(
        images=ImageFiles(root, files, len(labels)),
        labels=labels,
        parts={part: count for part, count in counts.items() if count},
        names=files.names[: len(labels)],
        class_names=names,
        notes=tuple(scan.notes),
        files={f"{len(labels)} images": ledger.of_all(files, sha256s)},
        divide=partial(a_fifth, num_classes=len(names), by_lot=bare),
    )


@dataclass(frozen=True, eq=False)
class ImageFiles(Encoded):
    """Images in files of their own, below a folder."""

    root: Path
    files: Files
    count: int

    def __len__(self) -> int:
        return self.count

    def read(self, i: int) -> bytes:
        """See `Encoded`."""
        path = os.path.join(self.root, self.files.names[i])  # noqa: PTH118 - for each of millions
        with unchanged(path, self.files.sizes[i], self.files.times[i]) as file:
            return file.read()

    def where(self, i: int) -> str:
        """See `Encoded`."""
        return printable(self.files.names[i])


def images_below(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the images in a folder and all folders in it, in the order of their names, and a sentence for each kind left out."""
    scan = Scan(folder)
    return [folder / file.name for file in scan.images()], scan.notes


def _problems(classes: Mapping[str, set[str]], scan: Scan, *, lenient: bool) -> Iterator[str]:
    """Yield what is wrong with the classes of the parts."""
    train = classes["train"]
    if len(train) == 1:
        only = f"there must be at least two classes, found only {next(iter(train))!r}"
        yield f"{only}: if the folders in it are the classes, data.path must lead to it"
    for part in [part for part in PARTS if part in classes and part != "train"]:
        if not classes[part]:
            if not lenient:
                yield f"the {part} set has no image in a class folder"
            continue
        where = f"is in the {part} set but not in the training set"
        yield from (f"class {name!r} {where}{did_you_mean(name, train)}" for name in sorted(classes[part] - train))
        if absent := sorted(train - classes[part]):
            scan.remarks.append(f"classes without an image in the {part} set: {len(absent)} ({listing(absent)})")


def _labelled(scan: Scan, images: Mapping[str, str]) -> Labelled:
    return ((scan.file(name), label) for name, label in images.items())


def _part_folders(scan: Scan, inside: Sequence[tuple[str, bool]]) -> dict[str, str]:
    """Return the folder of each part, in order, or nothing where the classes lie in the root; notes what lies beside them."""
    ranks = list(PART_OF)
    folders = [name for name, is_folder in inside if is_folder and part_of(name)]
    folders.sort(key=lambda name: ranks.index(name.lower()) if name.lower() in ranks else len(ranks))
    parts: dict[str, str] = {}
    for name in folders:
        if parts.setdefault(part_of(name), name) is not name:
            scan.leave_out(f"images in {name}/", (file.name for file in scan.images(name)))
    if not folders:
        return {}
    if "train" not in parts:
        there = f"{printable(scan.root)} (data.path) has {', '.join(folders)}, but no train"
        raise DataError(f"{there}: name the folder of the training images so; if these are classes, rename them")
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
        scan.remarks.append(f"{parts['test']}/ is read as the test set, since there is no other")
    for name, is_folder in inside:
        if name not in folders:
            images = scan.images(name) if is_folder else filter(None, [scan.image(name)])
            scan.leave_out(f"images beside {parts['train']}/", (file.name for file in images))
    return {part: parts[part] for part in PARTS if part in parts}


def _by_class(scan: Scan, inside: Iterator[tuple[str, bool]], empty: list[str]) -> Labelled:
    """Yield the images in some folders, which are classes, and note what is left out, and which are empty."""
    for name, is_folder in inside:
        label = name.rpartition("/")[2]
        lost = not is_folder and "." not in label and not os.path.exists(scan.path(name))  # noqa: PTH110
        if not is_folder and not lost:
            scan.leave_out("images in no class folder", [name] if scan.image(name) else [])
            continue
        count = 0
        for count, file in enumerate(scan.images(name) if is_folder else (), 1):  # noqa: B007 - it is the number afterwards
            yield file, label
        if not count:
            empty.append(name)
