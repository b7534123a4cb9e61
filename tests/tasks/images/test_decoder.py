"""Images decoded on the fly are the same whoever decodes them, and whoever does so is gone when nobody needs it."""

import io
import os
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from tests.distributed.workers import exit_code
from tests.processes import children
from torchsid.errors import DataError
from torchsid.tasks.images import Images
from torchsid.tasks.images.crop import box
from torchsid.tasks.images.decode import decode
from torchsid.tasks.images.decoder import Decoder
from torchsid.tasks.images.encoded import Encoded
from torchsid.tasks.stored import Wanted


@dataclass(frozen=True)
class Files(Encoded):
    folder: Path

    def __len__(self) -> int:
        return 12

    def read(self, i: int) -> bytes:
        return (self.folder / f"{i}.jpg").read_bytes()

    def where(self, i: int) -> str:
        return f"{i}.jpg"


@pytest.fixture
def decoder(tmp_path: Path) -> Iterator[Decoder]:
    """Of twelve photographs of different sizes, some of them grey."""
    generator = np.random.default_rng(0)
    for i in range(12):
        coarse = generator.integers(0, 256, (6, 8) if i % 4 == 0 else (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40 + i, 50 - i)).save(tmp_path / f"{i}.jpg")
    decoder = Decoder(images=Files(tmp_path), shape=(3, 16, 16), channels=3, resizes=True, smallest_crop=0.2, workers=2)
    yield decoder
    decoder.close()


def wanted(batches: int = 5, *, cropped: bool = True) -> Iterator[Wanted]:
    generator = torch.Generator().manual_seed(0)
    for step in range(batches):
        rows = torch.randint(12, (4 if step < batches - 1 else 3,), generator=generator)
        yield rows, {"crop": torch.rand(len(rows), 4, generator=generator), "flip": torch.zeros(1)} if cropped else {}


@pytest.mark.parametrize("cropped", [True, False])
def test_processes_and_threads_decode_what_one_image_after_another_is(decoder: Decoder, cropped: bool) -> None:
    state = torch.get_rng_state()
    found = [*decoder.stream(wanted(cropped=cropped))]
    alone = [*replace(decoder, workers=0).stream(wanted(cropped=cropped))]
    assert torch.equal(torch.get_rng_state(), state)
    for images, same, (rows, draws) in zip(found, alone, wanted(cropped=cropped), strict=True):
        assert (images.shape, images.dtype) == ((len(rows), 3, 16, 16), torch.uint8)
        assert torch.equal(images, same)
        for place, row in enumerate(rows.tolist()):
            crop = partial(box, draws["crop"][place].tolist(), 0.2) if cropped else None
            assert np.array_equal(images[place], decode(decoder.images.read(row), 3, (16, 16), crop))
    assert torch.equal(decoder.read(torch.arange(12)), replace(decoder, smallest_crop=0.0).read(torch.arange(12)))


def test_processes_are_kept_from_stream_to_stream_until_the_reader_is_closed(decoder: Decoder) -> None:
    before, handler = children(), signal.getsignal(signal.SIGCHLD)
    with ThreadPoolExecutor(1) as pool:  # as batches are read ahead
        first = pool.submit(lambda: [*decoder.stream(wanted())]).result()
    kept = children() - before
    assert len(kept) == 2
    assert all(torch.equal(*pair) for pair in zip(first, decoder.stream(wanted()), strict=True))
    assert children() - before == kept
    copy = pickle.loads(pickle.dumps(decoder))
    assert (copy, len(pickle.dumps(decoder)) < 2000) == (decoder, True)
    decoding = [process for process in active_children() if process.pid in kept]
    decoder.close()
    assert children() == before
    assert [process.exitcode for process in decoding] == [0, 0]
    assert signal.getsignal(signal.SIGCHLD) == handler  # PyTorch's would raise in the middle of anything


def test_a_stream_that_is_closed_early_leaves_no_process(decoder: Decoder) -> None:
    before = children()
    stream = decoder.stream(wanted(100))
    next(stream)
    assert children() - before
    stream.close()  # type: ignore[attr-defined]
    assert children() == before


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_and_lost_images_are_named(decoder: Decoder, tmp_path: Path, workers: int) -> None:
    decoder, before = replace(decoder, workers=workers), children()
    (tmp_path / "2.jpg").write_bytes((tmp_path / "2.jpg").read_bytes()[:300])
    (tmp_path / "7.jpg").unlink()
    stream = decoder.stream([(torch.arange(2), {}), (torch.arange(12), {})])
    assert len(next(stream)) == 2
    with pytest.raises(DataError) as caught:
        next(stream)
    lines = str(caught.value).split("\n")
    assert lines[0] == "2 of a batch of 12 images cannot be used:"
    assert lines[1].startswith("  - 2.jpg: not decodable (")
    assert "data.on_bad_sample = 'skip' looks through all images" in lines[1]
    assert lines[2] == "  - 7.jpg: cannot be read (No such file or directory); put it back as it was when the data were loaded"
    assert children() == before
    with pytest.raises(DataError, match=r"5\.jpg: is 45x45 colour, others are 16x16 colour; set data\.size") as caught:
        replace(decoder, resizes=False).read(torch.tensor([5, 5, 5, 5]))
    assert str(caught.value).endswith("and 1 more")


def test_a_process_that_dies_is_an_error_that_says_what_may_help(decoder: Decoder) -> None:
    before = children()
    stream = decoder.stream(wanted(1000))
    next(stream)
    for pid in children() - before:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(DataError, match=r"has died while the batch of \d+\.jpg was awaited .*lower data\.workers"):
        list(stream)
    assert children() == before


def decode_and_die(decoder: Decoder, file: Path) -> None:
    stream = decoder.stream(wanted(1000))
    next(stream)
    file.write_text(" ".join(str(process.pid) for process in psutil.Process().children(recursive=True)))
    os.kill(os.getpid(), signal.SIGKILL)


def test_no_process_outlives_one_that_is_killed(decoder: Decoder, tmp_path: Path) -> None:
    assert exit_code(decode_and_die, decoder, tmp_path / "processes") == -signal.SIGKILL
    found = [int(pid) for pid in (tmp_path / "processes").read_text().split()]
    assert len(found) >= 2
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in found if psutil.pid_exists(pid)], timeout=60)
    assert not alive


def test_of_transparent_and_deep_images_processes_decode_the_same(tmp_path: Path) -> None:
    for i in range(12):
        buffer = io.BytesIO()
        Image.new("RGBA", (9, 9), (i, 2 * i, 3 * i, 100)).save(buffer, "PNG")
        (tmp_path / f"{i}.jpg").write_bytes(buffer.getvalue())
    decoder = Decoder(images=Files(tmp_path), shape=(1, 9, 9), channels=1, resizes=False)
    assert decoder.read(torch.arange(12))[:, 0, 0, 0].tolist() == [decode(Files(tmp_path).read(i), 1)[0, 0, 0] for i in range(12)]


def test_parquet_files_are_decoded_on_the_fly_a_few_groups_at_a_time(mnist_folder: Path) -> None:
    for path in mnist_folder.glob("*.parquet"):
        parquet.write_table(parquet.read_table(path), path, row_group_size=20)
    off = Images(name="mnist", path=str(mnist_folder), cache="off", workers=0)
    with pytest.raises(DataError, match=r"data\.cache = 'off': .* groups of rows .*set data\.window"):
        off.load(seed=0)
    kept, read = (replace(off, cache=cache, window=30).load(seed=0) for cache in ("", "off"))
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(kept, part).inputs[:], getattr(read, part).inputs[:])
    orders = [splits.train.inputs.order(torch.Generator().manual_seed(1)) for splits in (kept, read)]  # type: ignore[union-attr]
    assert torch.equal(*orders)
    groups = kept.train.rows[orders[0]] // 20
    assert len(groups[:20].unique()) <= 4 < len(groups.unique())
