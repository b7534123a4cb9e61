"""What happens to files: bytes flip, ends are lost, values are of another type."""

import json
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import tomli_w

STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\udcff", "a" * 100_000),
    *([], {}, [[]], [None], {"a": {"b": []}}, [1e308] * 3, ["x", 1, None], "../../etc/passwd", "<script>alert(1)</script>"),
)


def damage(path: Path, random: Random, others: list[Path]) -> str:
    """Damage a file and return what was done to it.

    Args:
        path: a file.
        random: decides how.
        others: files that may take its place.
    """
    structured = _TREES.get(path.suffix)
    name = random.choice([*_BYTES, *(["structure"] * len(_BYTES) if structured else []), "gone", "folder", "dangling", "swapped"])
    match name:
        case "structure":
            assert structured
            path.write_bytes(structured(path.read_bytes(), random))
        case "gone":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
        case "dangling":
            path.unlink()
            path.symlink_to("nowhere")
        case "swapped":
            shutil.copyfile(random.choice([each for each in others if each != path] or [path]), path.with_suffix(".new"))
            path.with_suffix(".new").replace(path)
        case _:
            path.write_bytes(_BYTES[name](path.read_bytes(), random))
    return f"{path.name}: {name}"


def _at(content: bytes, random: Random) -> int:
    return random.randrange(len(content) + 1)


def _flipped(content: bytes, random: Random) -> bytes:
    changed = bytearray(content or b"x")
    for _ in range(random.choice([1, 1, 3, 20])):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut_out(content: bytes, random: Random) -> bytes:
    start, end = sorted((_at(content, random), _at(content, random)))
    return content[:start] + content[end:]


def _overwritten(content: bytes, random: Random) -> bytes:
    start = _at(content, random)
    noise = random.randbytes(random.choice([1, 4, 64, 512]))
    return content[:start] + noise + content[start + len(noise) :]


_BYTES: Mapping[str, Callable[[bytes, Random], bytes]] = {
    "flipped": _flipped,
    "overwritten": _overwritten,
    "truncated": lambda content, random: content[: _at(content, random)],
    "cut out": _cut_out,
    "doubled": lambda content, random: content + content,
    "appended": lambda content, random: content + random.randbytes(random.choice([1, 16, 300])),
    "empty": lambda content, random: b"",
    "noise": lambda content, random: random.randbytes(random.choice([1, 8, 300, 5000])),
    "zeros": lambda content, random: bytes(len(content)),
    "byte-order mark": lambda content, random: b"\xef\xbb\xbf" + content,
    "other line ends": lambda content, random: content.replace(b"\n", b"\r\n"),
    "nested": lambda content, random: random.choice([b"[", b'{"a":', b"a = [", b"[a."]) * random.choice([100, 100_000]),
}


def _json(content: bytes, random: Random) -> bytes:
    return json.dumps(_changed(json.loads(content), random)).encode()


def _json_lines(content: bytes, random: Random) -> bytes:
    lines = content.splitlines()
    index = random.randrange(len(lines))
    lines[index] = random.choice([_json(lines[index], random), b"null", b"[1]", lines[0], b""])
    return b"\n".join(lines) + b"\n"


def _toml(content: bytes, random: Random) -> bytes:
    changed = _changed(tomllib.loads(content.decode()), random)
    try:
        return tomli_w.dumps(changed).encode()
    except (TypeError, ValueError, AttributeError):  # TOML holds no null, and no text outside of tables
        return f"a = {json.dumps(changed, default=str)}".encode("utf-8", "surrogatepass")


_TREES: Mapping[str, Callable[[bytes, Random], bytes]] = {".json": _json, ".jsonl": _json_lines, ".toml": _toml}


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:50]) if isinstance(value, list) else ()
    for key, each in items:
        yield from _places(each, (*path, key))


def _changed(tree: Any, random: Random) -> Any:
    """Return the tree with something else, or nothing, at one place."""
    *path, last = random.choice([*_places(tree)][1:] or [()]) or (None,)
    holder = tree
    for key in path:
        holder = holder[key]
    if last is None or not isinstance(holder, dict | list):
        return random.choice(STRANGE)
    match random.choice(["other", "other", "gone", "more"]):
        case "gone":
            del holder[last]
        case "more" if isinstance(holder[last], dict | list | str | int | float) and not isinstance(holder[last], bool):
            holder[last] = holder[last] * 2 if not isinstance(holder[last], dict) else holder[last] | {"unknown": 1}
        case _:
            holder[last] = random.choice(STRANGE)
    return tree
