"""Which files below a folder are images to learn from, of which class and part, and what is left out."""

import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from torchsid.errors import DataError, did_you_mean, printable

PARTS: Mapping[str, Sequence[str]] = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""What the parts of a data set are called, in small or capital letters; the first names are preferred."""
_NAMED_IMAGE = re.compile(
    r".+\.(apng|avif|bmp|dib|gif|hei[cf]|hif|ico|j2k|jfif|jp2|jpe|p?jpe?g|jxl|p[bgnp]m|pjp|png|qoi|tga|tiff?|webp)", re.IGNORECASE
)
"""What is an image by its name. A file of another name is one by its first bytes."""
_IMAGE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|RIFF....WEBP|....ftyp(avi|hei|hev|mif1)|\xff\x0a|\0{3}\x0cJXL ", re.DOTALL)
_CLUTTER = re.compile(r"\._.*|\.ds_store|thumbs\.db|ehthumbs\.db|desktop\.ini|icon\r|__macosx", re.IGNORECASE)
"""What systems leave in folders and nobody means."""
_PART_OF = {name: part for part, names in PARTS.items() for name in names}
_PART = re.compile(rf"({'|'.join(_PART_OF)})([-_ ]?(set|data|images|split))?", re.IGNORECASE)
_COLUMNS = ("path", "label", "split")
_EMPTY = "folders without an image"
_SHOWN = 3


@dataclass
class Found:
    """The images of each part with the names of their classes, and a sentence for each kind of thing that was left out."""

    root: Path
    bare: bool
    """Whether nobody said what is for training and what for testing."""
    parts: dict[str, list[tuple[Path, str]]] = field(default_factory=dict)
    lists: list[Path] = field(default_factory=list)
    """The files that say which images are meant, and of which class and part."""
    remarks: list[str] = field(default_factory=list)
    left_out: defaultdict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))

    @property
    def paths(self) -> list[Path]:
        """Every image, part by part."""
        return [path for part in self.parts.values() for path, _ in part]

    def name(self, path: Path) -> str:
        """Return what a file below the folder is called."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    @property
    def notes(self) -> list[str]:
        """What was left out, or read otherwise than it may seem: a sentence each with the number and the first names."""
        kinds = {kind: sorted(map(self.name, paths)) for kind, paths in self.left_out.items() if paths}
        sentences = (f"{kind}: {len(names)} left out ({listing(names)})" for kind, names in kinds.items())
        return [*self.remarks, *sentences]


def listing(names: Iterable[str]) -> str:
    """Return the first few names, for a sentence."""
    first = [printable(name) for name in islice(names, _SHOWN + 1)]
    return ", ".join([*first[:_SHOWN], *(["…"] if len(first) > _SHOWN else [])])


def find(root: Path, listed: str, *, lenient: bool) -> Found:
    """Find the images below a folder, whatever is nested in the class folders; classes and files in the order of their names.

    Args:
        root: the folder.
        listed: a file in it that says which images are meant; see `_by_list`. Empty goes by the folders.
        lenient: leave out class folders without an image.

    Raises:
        DataError: there are none; names what was looked for, or all that is in the way.
    """
    found = _by_list(root, listed) if listed else _by_folder(root)
    classes = {part: {label for _, label in images} for part, images in found.parts.items()}
    if not classes.get("train"):
        raise DataError(
            f"no files of folder in {printable(str(root))} (data.path){''.join(f'; {note}' for note in found.notes)}; looked for:\n"
            "  - images in train/<class>/, with val/<class>/ or test/<class>/ beside it\n  - images in <class>/\n"
            "  - what data.files names: a list such as train.txt, or a CSV file with the columns path, label and split"
        )
    problems = []
    if len(classes["train"]) == 1:
        only = f"there must be at least two classes, found only {next(iter(classes['train']))!r}"
        problems.append(f"{only}: if the folders in it are the classes, data.path must lead to it")
    for part in [part for part in PARTS if part in classes and part != "train"]:
        if not classes[part] and lenient:
            del found.parts[part]
        elif not classes[part]:
            problems.append(f"the {part} set has no image in a class folder")
        else:
            unknown, absent = sorted(classes[part] - classes["train"]), sorted(classes["train"] - classes[part])
            where = f"is in the {part} set but not in the training set"
            problems += [f"class {name!r} {where}{did_you_mean(name, classes['train'])}" for name in unknown]
            if absent:
                found.remarks.append(f"classes without an image in the {part} set: {len(absent)} ({listing(absent)})")
    empty = found.left_out.pop(_EMPTY, []) if not (lenient or found.bare) else []
    problems += [f"class {path.name!r} has no image in {path}" for path in empty]
    if problems:
        raise DataError("the image folder cannot be used:" + "".join(f"\n  - {printable(problem)}" for problem in problems))
    return found


def images_below(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the images in a folder and all folders in it, in the order of their names, and a sentence for each kind left out."""
    found = Found(folder, bare=True)
    return sorted(_below(folder, found)), found.notes


def _by_list(root: Path, listed: str) -> Found:
    """Return the images that a file names.

    It is a CSV file with the column `path`, and maybe `label` and `split`, or a list of paths, each with or without a label behind
    it; beside `train.txt` the lists `val.txt` and `test.txt` are read. Paths are below the folder. Without a label the class is
    the folder's, as it is without a list.
    """
    found, problems = Found(root, bare=True, lists=[root / listed]), []
    is_table = Path(listed).suffix.lower() in (".csv", ".tsv")
    if not is_table and _part_of(Path(listed).stem) == "train":
        siblings = (found.lists[0].with_stem(name) for part in ("validation", "test") for name in PARTS[part])
        found.lists += [path for path in siblings if path.is_file()]
    parts: dict[str, dict[Path, str]] = {part: {} for part in PARTS}
    for source in found.lists:
        own = "" if is_table else _part_of(source.stem)
        for number, (name, label, split) in enumerate(
            _table(source, found) if is_table else _lines(source, root), 2 if is_table else 1
        ):
            path, part = _listed(root, name), _part_of(split) if split else own
            above = [folder for folder in path.relative_to(root).parts[:-1] if not _part_of(folder)]
            label = label or next(iter(above[::-1] if ".." in above else above), "")
            found.bare &= not part
            if not name or not label or (split and not part):
                what = "no path" if not name else "no label" if not label else f"split {split!r}; allowed are {', '.join(_PART_OF)}"
                problems.append(f"{source.name}, line {number}: {what}")
            elif any(path in images for images in parts.values()):
                problems.append(f"{source.name}, line {number}: {name} a second time")
            parts[part or "train"][path] = label
    if problems:
        shown = "".join(f"\n  - {printable(problem)}" for problem in problems[:10])
        raise DataError(f"{len(problems)} lines of data.files = {listed!r} cannot be used, the first:{shown}")
    if not parts["test"]:
        parts["test"] = parts.pop("validation")
    found.parts = {part: list(images.items()) for part, images in parts.items() if images}
    return found


def _listed(root: Path, name: str) -> Path:
    """Return the file that a list names, however it is spelt; another system may have written the slashes."""
    if "\\" in name and not _is_there(root / name):
        name = name.replace("\\", "/")
    return root / os.path.relpath(root / name, root)


def _is_there(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - a `Path` raises where the name is too long


def _table(path: Path, found: Found) -> Iterator[tuple[str, str, str]]:
    """Yield path, label and split of every line of a CSV file; what is not there is empty."""
    text = _text(path)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        rows = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
        columns = rows.fieldnames = [column.strip().lower() for column in rows.fieldnames or ()]
        if "path" not in columns:
            raise DataError(f"{path} has no column 'path'; it has {', '.join(columns) or 'nothing'}")
        if others := [column for column in columns if column not in _COLUMNS]:
            found.remarks.append(
                f"columns of {path.name} that are not {', '.join(_COLUMNS)}: {len(others)} not read ({listing(others)})"
            )
        for row in rows:
            path_, label, split = ((row.get(column) or "").strip() for column in _COLUMNS)
            yield path_, label, split
    except csv.Error as error:
        raise DataError(f"{path} is no CSV file ({error})") from None


def _lines(path: Path, root: Path) -> Iterator[tuple[str, str, str]]:
    """Yield path and label of every line of a list; a name may have spaces and commas, and so may have what is behind it."""
    for line in filter(None, map(str.strip, _text(path).split("\n"))):
        gaps = [gap.span() for gap in re.finditer(r"\s*[\s,;]\s*", line)]
        ways = [(line, ""), *((line[:start], line[end:]) for start, end in reversed(gaps))]
        name, label = next((way for way in ways if _is_there(_listed(root, way[0]))), ways[:2][-1])
        yield name, label, ""


def _text(path: Path) -> str:
    try:
        text = path.read_text("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(f"{printable(str(path))} (data.files) cannot be read: {error.strerror}") from None
    if "\0" in text:
        raise DataError(f"{printable(str(path))} (data.files) is no text in UTF-8: save it as UTF-8")
    return text


def _part_of(name: str) -> str:
    """Return which part is called so, `training_set` and `Test` among them, or nothing."""
    match = _PART.fullmatch(name)
    return _PART_OF[match[1].lower()] if match else ""


def _by_folder(root: Path) -> Found:
    ranks = list(_PART_OF)
    inside = sorted(path for path in root.iterdir() if _part_of(path.name) and path.is_dir())
    folders = sorted(inside, key=lambda path: ranks.index(path.name.lower()) if path.name.lower() in ranks else len(ranks))
    parts: dict[str, Path] = {}
    found = Found(root, bare=not folders)
    for path in folders:
        if parts.setdefault(_part_of(path.name), path) is not path:
            found.left_out[f"images in {path.name}/"] += sorted(_below(path, found))
    if not folders:
        found.parts = {"train": _by_class(root, found)}
        return found
    if "train" not in parts:
        there = f"{printable(str(root))} (data.path) has {', '.join(path.name for path in folders)}, but no train"
        raise DataError(f"{there}: name the folder of the training images so; if these are classes, rename them")
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
        found.remarks.append(f"{parts['test'].name}/ is read as the test set, since there is no other")
    for path in sorted(root.iterdir()):
        if path not in folders and not _is_hidden(path, found):
            images = sorted(_below(path, found)) if path.is_dir() else [path] if _is_image(path, found) else []
            found.left_out[f"images beside {parts['train'].name}/"] += images
    found.parts = {part: _by_class(parts[part], found) for part in PARTS if part in parts}
    if not found.parts["train"]:
        found.remarks.append(f"{parts['train'].name}/ has no class folder with an image: if it is a class itself, rename it")
    return found


def _by_class(folder: Path, found: Found) -> list[tuple[Path, str]]:
    """Return the images in the folders in `folder`, which are classes, and note what is left out."""
    images = []
    for path in sorted(folder.iterdir()):
        lost = path.is_symlink() and not path.exists() and not path.suffix
        if not path.is_dir() and not lost:
            if _is_image(path, found):
                found.left_out["images in no class folder"].append(path)
        elif not _is_hidden(path, found):
            of_class = sorted(_below(path, found))
            if not of_class:
                found.left_out[_EMPTY].append(path)
            images += [(image, path.name) for image in of_class]
    return images


def _below(folder: Path, found: Found) -> Iterator[Path]:
    """Yield the images in a folder and all folders in it; what is linked counts, but no folder twice, nor one above."""
    seen = {_identity(above) for above in folder.parents if above.is_relative_to(found.root)}

    def locked(error: OSError) -> None:
        found.left_out["folders that cannot be read"].append(Path(error.filename))

    for parent, inner, files in os.walk(folder, followlinks=True, onerror=locked):
        if (identity := _identity(Path(parent))) in seen:
            inner.clear()
            found.left_out["links to folders that are read already"].append(Path(parent))
            continue
        seen.add(identity)
        inner[:] = [name for name in inner if not _is_hidden(Path(parent, name), found)]
        yield from (path for name in files if _is_image(path := Path(parent, name), found))


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _is_hidden(path: Path, found: Found) -> bool:
    if not path.name.startswith(".") and not _CLUTTER.fullmatch(path.name):
        return False
    if not _CLUTTER.fullmatch(path.name):
        found.left_out["hidden files or folders"].append(path)
    return True


def _is_image(path: Path, found: Found) -> bool:
    """Return whether a file is an image by its name, or else by its first bytes; what cannot be read is one, and a bad one."""
    if _is_hidden(path, found):
        return False
    if path.exists() and not path.is_file():
        kind = "pipes, sockets or devices"
    elif _NAMED_IMAGE.fullmatch(path.name):
        return True
    else:
        try:
            with path.open("rb") as file:
                if _IMAGE.match(file.read(16)):
                    return True
        except OSError:
            return True
        kind = "files that are no images"
    found.left_out[kind].append(path)
    return False
