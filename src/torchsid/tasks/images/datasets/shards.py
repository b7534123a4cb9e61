"""Your own images in tar archives, in the layout of WebDataset: KEY.jpg with KEY.cls or KEY.json beside it."""

import json
import re
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from torchsid.durable import replaced
from torchsid.errors import DataError, bullets, printable
from torchsid.tasks import cache, ledger
from torchsid.tasks.domain import PARTS
from torchsid.tasks.files import Files
from torchsid.tasks.images import tars
from torchsid.tasks.images.decoded import decoded
from torchsid.tasks.images.encoded import Catalogue
from torchsid.tasks.images.raw import RawSet
from torchsid.tasks.images.request import Request
from torchsid.tasks.images.scan import Scan, listing
from torchsid.tasks.images.sources import root_of
from torchsid.tasks.images.tars import TarImages
from torchsid.tasks.packed_names import Names
from torchsid.tasks.parts import part_of
from torchsid.tasks.progress import Progress
from torchsid.tasks.splitting import Labels, a_fifth

_CLASSES = ("classes.txt", "classnames.txt", "labels.txt")
_PACKED = re.compile(r".*\.(tar\.(gz|bz2|xz|zst|lz4|Z)|t[gbx]z2?)", re.IGNORECASE)
_FORMAT = 1  # raise it when something else is found in archives, or written of them


def shards(request: Request) -> RawSet:
    """Return the images in the archives below `request.path`, `train/*.tar` or `train-*.tar`, and so for the other parts.

    Where no part is named, a fifth of each class is kept for testing, drawn by lot, the same whatever the run's seed; where only
    the test part is missing, every fifth image of each class. `classes.txt` or `classnames.txt` has the names of numbered classes,
    a line each.

    Raises:
        DataError: there are no such archives, they are compressed or damaged, or samples lack an image or a label or are there
            twice.
    """
    scan = Scan(root_of(request))
    archives = _archives(scan)
    names = [name for of_part in archives.values() for name in of_part]
    files = Files.of(map(scan.file, names))
    root = Path(scan.root)
    listed = _remembered(root, files, request.cache)
    problems = listed.problems
    if problems and request.on_bad_sample == "error":
        what = f"{len(problems)} samples or archives of {printable(scan.root)} cannot be used"
        raise DataError(f"{what}; data.on_bad_sample = 'skip' leaves them out:{bullets(map(printable, problems))}")
    if not len(listed.images):
        wanted = "KEY.jpg with KEY.cls or KEY.json beside it"
        raise DataError(f"the archives in {printable(scan.root)} (data.path) have no image with a label; looked for: {wanted}")
    labels, class_names = _classes(root, listed)
    counts = np.bincount(listed.images.shards, minlength=len(names))
    ends = np.cumsum([0, *map(len, archives.values())]).tolist()
    catalogue = Catalogue(
        images=listed.images,
        labels=labels,
        parts={part: int(counts[start:end].sum()) for part, start, end in zip(archives, ends, ends[1:], strict=False)},
        names=listed.images.names,
        class_names=class_names,
        notes=(*scan.notes, *listed.remarks, *problems),
        files={
            f"{len(names)} archives": ledger.of_all(files, ledger.sha256s(request.cache, request.name, root, files, request.files))
        },
        divide=partial(a_fifth, num_classes=len(class_names), by_lot=not any(map(_part, names))),
    )
    return decoded(catalogue, request)


def _archives(scan: Scan) -> dict[str, list[str]]:
    """Return the archives of each part, in order."""
    top = list(scan.inside())
    inside = [name for name, is_folder in top if not is_folder]
    inside += [name for folder, is_folder in top if is_folder for name, _ in scan.inside(folder)]
    if packed := [name for name in inside if _PACKED.fullmatch(name)]:
        what = f"{len(packed)} archives are compressed ({listing(packed)}), so no image in them can be read alone"
        raise DataError(f"{printable(scan.root)}: {what}: unpack them, for example with gunzip")
    found = [name for name in inside if name.lower().endswith(".tar")]
    parts = {name: _part(name) for name in found}
    if not any(parts.values()):
        parts = dict.fromkeys(found, "train")
    scan.leave_out("archives of no part", (name for name, part in parts.items() if not part))
    chosen = {part: of_part for part in PARTS if (of_part := [name for name in found if parts[name] == part])}
    if "train" not in chosen:
        there = f", only {listing(found)}" if found else ""
        raise DataError(
            f"no files of shards in {printable(scan.root)} (data.path){there}; looked for archives to train on:\n"
            "  - train/*.tar, with val/*.tar or test/*.tar beside it\n  - train-*.tar, with val-*.tar or test-*.tar\n  - *.tar"
        )
    if "test" not in chosen and "validation" in chosen:
        chosen["test"] = chosen.pop("validation")
        scan.remarks.append("the archives for validation are read as the test set, since there is no other")
    return chosen


def _part(name: str) -> str:
    """Return which part an archive is of by its folder, or by a word of its name, or nothing."""
    folder, _, file = name.rpartition("/")
    return next(filter(None, map(part_of, [folder, *re.split(r"[-_.]", file)])), "")


class _Listed(NamedTuple):
    """What is in some archives."""

    images: TarImages
    codes: Labels
    """Of each image, which of `labels` it has, int64 `[N]`."""
    labels: Sequence[str]
    problems: Sequence[str]
    remarks: Sequence[str]


def _remembered(root: Path, archives: Files, setting: str) -> _Listed:
    """Return what is in some archives, which is not looked for again as long as they do not change."""
    told = [_FORMAT, str(root.absolute()), [*archives.names], archives.sizes.tolist(), archives.times.tolist()]
    path = cache.entry(setting, "archives", *told).with_suffix(".npz")
    with suppress(Exception), path.open("rb") as file, np.load(file, allow_pickle=False) as stored:  # absent, or damaged in any way
        images = TarImages(root, archives, Names(stored["text"].tobytes(), stored["spans"]), stored["places"])
        return _Listed(images, stored["codes"], *json.loads(stored["words"].tobytes()))
    listed = _listed(root, archives)
    words = np.frombuffer(json.dumps([listed.labels, listed.problems, listed.remarks]).encode(), dtype=np.uint8)
    names = Names.of(iter(listed.images.names))  # without those that were left out
    arrays: dict[str, Any] = {"spans": names.spans, "places": listed.images.places, "codes": listed.codes}
    if time.time_ns() - archives.times.max() > ledger.RECENT:
        with suppress(OSError):  # then they are looked for the next time
            path.parent.mkdir(parents=True, exist_ok=True)
            with replaced(path, shared=True) as out:
                np.savez(out, words=words, text=np.frombuffer(names.text, dtype=np.uint8), **arrays)
    return listed


def _listed(root: Path, archives: Files) -> _Listed:
    progress = Progress(f"looking for the images in {len(archives.names)} archives, this once", int(archives.sizes.sum()))
    codes, numbers, places = dict[str, int](), array("q"), array("q")
    problems, remarks = list[str](), list[str]()

    def names() -> Iterator[str]:
        for number, name in enumerate(archives.names):
            try:
                archive = tars.index(root / name)
            except OSError as error:
                problems.append(f"{name} cannot be read: {error.strerror}")
                continue
            progress.add(int(archives.sizes[number]))
            problems.extend(archive.problems)
            remarks.extend(archive.remarks)
            for sample in archive.samples:
                numbers.append(codes.setdefault(sample.label, len(codes)))
                places.extend((number, sample.start, sample.size))
                yield sample.name

    called = Names.of(names())
    images = TarImages(root, archives, called, np.array(places, dtype=np.int64).reshape(-1, 3))
    labels = np.array(numbers, dtype=np.int64)
    again = tars.twice(images, labels)
    problems += [f"{images.where(i)} is in an earlier archive, too" for i in again.tolist()]
    kept = np.setdiff1d(np.arange(len(labels)), again)
    return _Listed(TarImages(root, archives, called[kept], images.places[kept]), labels[kept], [*codes], problems, remarks)


def _classes(root: Path, listed: _Listed) -> tuple[Labels, tuple[str, ...]]:
    """Return the class of each image, int64 `[N]`, and the names of the classes."""
    path = next((root / name for name in _CLASSES if (root / name).is_file()), None)
    names = tuple(path.read_text("utf-8-sig", "surrogateescape").split("\n")) if path else ()
    names = tuple(map(str.strip, names if not names or names[-1].strip() else names[:-1]))
    used = [listed.labels[code] for code in np.unique(listed.codes).tolist()]
    if all(re.fullmatch(r"-?\d{1,9}", label) for label in used):
        last = max(map(int, used))
        if not names and last >= len(listed.codes):
            raise DataError(f"the label {last} is larger than the number of images: classes are numbered from 0")
        names = names or tuple(map(str, range(last + 1)))
        values = {label: int(label) for label in used}
    else:
        names = names or tuple(sorted(used))
        values = {name: number for number, name in enumerate(names)}
        if unknown := [label for label in used if label not in values]:
            raise DataError(f"labels that {path.name if path else ''} does not have: {len(unknown)} ({listing(unknown)})")
    of_code = np.array([values.get(label, -1) for label in listed.labels], dtype=np.int64)
    return of_code[listed.codes], names
