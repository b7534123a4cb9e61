"""Images decoded whenever a batch needs them: by threads of this process, or ahead of training by processes of their own."""

import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from multiprocessing import parent_process
from multiprocessing.connection import wait
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from torchsid.errors import DataError, bullets
from torchsid.tasks.images import crop
from torchsid.tasks.images.decode import decode, named, problem_of
from torchsid.tasks.images.encoded import Encoded
from torchsid.tasks.images.raw import Pixels
from torchsid.tasks.progress import cores
from torchsid.tasks.stored import NO_DRAWS, Draws, Reader, Wanted

T = TypeVar("T")

_AHEAD = 2  # batches that each process decodes before they are asked for
_SHOWN = 3
_MEMORY = "memory, or /dev/shm, may be short: lower data.workers or training.batch_size"
_Rows = tuple[NDArray[np.int64], NDArray[np.float32] | None]
"""A batch as it is sent to a process: its rows, and the draws of random crops, `[B, 4]`."""


@dataclass(frozen=True, kw_only=True)
class Decoder(Reader):
    """Encoded images that are decoded whenever they are read; what a reader of decoded ones would read, to the bit.

    Attributes:
        images: the images.
        shape: `(C, S, S)`, of all of them.
        channels: that every image gets; None: grey ones have 1, others 3, and what `shape` has not is an error.
        resizes: whether images of other sizes are resized until they cover S x S, and cropped at the centre; else they are errors.
        smallest_crop: what random crops of the originals have at least of their area, `crop.box`; 0: there are none.
        workers: how many processes decode the batches of a stream; 0: this one does, when it is asked.
    """

    images: Encoded
    shape: tuple[int, ...]
    channels: int | None
    resizes: bool
    smallest_crop: float = 0.0
    workers: int = 0
    _idle: list["_Processes"] = field(default_factory=list, init=False, repr=False, compare=False)

    dtype = torch.uint8

    @property
    def uses(self) -> frozenset[str]:  # type: ignore[override]
        """The draws of random crops, `crop`, where there are any."""
        return frozenset({"crop"} if self.smallest_crop else ())

    def read(self, rows: Tensor, draws: Draws = NO_DRAWS) -> Tensor:
        """Return decoded images, uint8 `[n, C, S, S]`, cropped at random by the draws `crop`, float32 `[n, 4]`, if they are there.

        Raises:
            DataError: images are damaged, or have gone; names them.
        """
        found = torch.empty(len(rows), *self.shape, dtype=torch.uint8)
        with ThreadPoolExecutor(max(1, min(len(rows), cores()))) as pool:
            self.fill(found, _to_send(rows, draws), pool.map)
        return found

    def fill(self, found: Tensor, wanted: _Rows, run: Callable[..., Iterable[str]] = map) -> None:
        """Write decoded images into `found`, one after another or as `run` does; see `read`."""
        rows, draws = wanted
        crops: Iterable[list[float] | None] = [None] * len(rows) if draws is None else draws.tolist()
        if problems := [problem for problem in run(self._decode, found.numpy(), rows.tolist(), crops) if problem]:
            raise DataError(f"{len(problems)} of a batch of {len(rows)} images cannot be used:{bullets(problems, _SHOWN)}")

    def stream(self, wanted: Iterable[Wanted]) -> Iterator[Tensor]:
        """Yield what `read` returns for every batch; processes decode them ahead, and are kept for the next stream.

        A stream that is closed early, or ends in an error, has ended its processes.

        Raises:
            DataError: see `read`; or a process has died.
        """
        if not self.workers:
            yield from super().stream(wanted)
            return
        processes = self._idle.pop() if self._idle else _Processes(self)
        try:
            yield from processes.decoded(wanted)
        except BaseException:
            processes.end()
            raise
        self._idle.append(processes)

    def close(self) -> None:
        """End the processes that wait for the next stream."""
        while self._idle:
            self._idle.pop().end()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_idle"} | {"_idle": []}

    def _decode(self, place: Pixels, i: int, draw: Sequence[float] | None) -> str:
        """Write an image to its place, or return what is wrong with it."""
        _, height, width = self.shape
        advice = "put it back as it was when the data were loaded"
        try:
            try:
                data = self.images.read(i)
            except OSError as error:
                raise DataError(f"cannot be read ({error.strerror})") from error
            advice = "data.on_bad_sample = 'skip' looks through all images once, before training, and leaves such out"
            box = None if draw is None else partial(crop.box, draw, self.smallest_crop)
            image = decode(data, self.channels, (height, width) if self.resizes or box else None, box)
            if image.shape == self.shape:
                place[:] = image
                return ""
            what, advice = f"is {named(image.shape)}, others are {named(self.shape)}", f"set data.size, or {advice}"
        except Exception as error:  # decoders raise errors of every kind
            what = problem_of(error)
        return f"{self.images.where(i)}: {what}; {advice}"


class _Processes:
    """Processes that decode the batches of one stream after another."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = replace(decoder, workers=0)
        self.asked = _Asked()
        # No process does more than decode, so none meets a lock that a thread held when it was copied; their number is a setting.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded|This DataLoader will create .* worker")
        self.loader: DataLoader[Tensor | str] = DataLoader(
            _Work(self.decoder),
            batch_size=None,
            sampler=self.asked,
            num_workers=decoder.workers,
            collate_fn=_as_it_is,  # type: ignore[arg-type]
            prefetch_factor=_AHEAD,
            persistent_workers=True,
            worker_init_fn=_begin,
            generator=torch.Generator(),  # the global one stays as it is
        )
        self.found: Any = None

    def decoded(self, wanted: Iterable[Wanted]) -> Iterator[Tensor]:
        self.asked.begin(wanted)
        try:
            self.found = _in_thread(self._start)
            for images in self.found:
                if isinstance(images, str):
                    raise DataError(images)
                self.asked.open.popleft()
                yield images
        except (RuntimeError, OSError, EOFError) as error:
            first = f" while the batch of {self.decoder.images.where(self.asked.open[0])} was awaited" if self.asked.open else ""
            what = f"a process that decodes images has died{first} ({' '.join(str(error).split())[:200]})"
            raise DataError(f"{what}; {_MEMORY}") from error

    def _start(self) -> Any:
        found: Any = iter(self.loader)
        if found._worker_pids_set:  # a program with a loader of its own has PyTorch's handler, which would raise as well
            torch._C._remove_worker_pids(id(found))
            found._worker_pids_set = False
        return found

    def end(self) -> None:
        if self.found is not None:
            self.found._shutdown_workers()


class _Asked:
    """The batches of a stream as they are sent to the processes, and the first rows of those that have not come back yet."""

    def __init__(self) -> None:
        self.begin(())

    def begin(self, wanted: Iterable[Wanted]) -> None:
        self.wanted, self.open = wanted, deque[int]()

    def __iter__(self) -> Iterator[_Rows]:
        for rows, draws in self.wanted:
            self.open.append(int(rows[0]))
            yield _to_send(rows, draws)


@dataclass(frozen=True)
class _Work(Dataset[Tensor | str]):
    """What a process does: it returns the images of a batch, or what is wrong with them."""

    decoder: Decoder

    def __getitem__(self, wanted: _Rows) -> Tensor | str:
        shape = (len(wanted[0]), *self.decoder.shape)
        try:
            memory = torch.UntypedStorage._new_shared(prod(shape))  # type: ignore[no-untyped-call]  # not copied
            found = torch.empty(0, dtype=torch.uint8).set_(memory).view(shape)
            self.decoder.fill(found, wanted)
        except DataError as error:
            return str(error)
        except Exception as error:
            return f"a batch of {shape[0]} images cannot be decoded ({' '.join(str(error).split())[:200]}); {_MEMORY}"
        return found


def _to_send(rows: Tensor, draws: Draws) -> _Rows:
    return rows.numpy(), draws["crop"].numpy() if "crop" in draws else None


def _in_thread(start: Callable[[], T]) -> T:
    """Return what a thread made for it returns.

    Processes copied from a main thread would make PyTorch raise there, in the middle of whatever it does, when one of them dies;
    copies of a thread that belongs to a pool cannot end cleanly.
    """
    result = Future[T]()

    def run() -> None:
        try:
            result.set_result(start())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run).start()
    return result.result()


def _as_it_is(images: Tensor | str) -> Tensor | str:
    return images


def _begin(worker: int) -> None:
    """Prepare a process: the one that trains decides when it ends, and it does not outlive that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # of Pillow: a large panorama, odd metadata; what cannot be read is an error anyway
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    with suppress(OSError):
        wait([parent.sentinel])
    os._exit(0)  # it may be about to end anyway, which is no accident that would have to be told
