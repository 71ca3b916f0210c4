"""CIFAR-10 from a server on this machine that misbehaves, and from archives that are damaged."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import tarfile

import pytest
import torch
from test_tatoeba import good, host, left_in, status, waits  # noqa: F401  (fixtures)

from attn_utils.data import cifar10

images = importlib.import_module("attn_utils.data.images")
NAMES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
RECORDS = torch.randint(
    0, 256, (6, 4, 3073), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
RECORDS[:, :, 0] %= 10
FILES = {name: bytes(r.flatten().tolist()) for name, r in zip(NAMES, RECORDS, strict=True)}


def packed(files=FILES, folder="cifar-10-batches-bin/", extra=()):
    """An archive as the home page has it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for info in extra:
            archive.addfile(info)
        for name, data in {"readme.html": b"<html>", **files}.items():
            info = tarfile.TarInfo(folder + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


ARCHIVE = packed()


@pytest.fixture
def pinned(monkeypatch, host):  # noqa: F811
    """The home page and its mirrors are the server; what is pinned is the small archive."""
    monkeypatch.setattr(images, "HOSTS", tuple(host.url(f"{name}/") for name in "ab"))
    monkeypatch.setattr(images, "SHA256", hashlib.sha256(ARCHIVE).hexdigest())
    return host


def check(parts):
    training, test = parts
    assert (len(training), len(test)) == (20, 4)
    image, label = training[5]
    assert (image.shape, image.dtype, label.dtype) == ((3, 32, 32), torch.float32, torch.int64)
    for part, records in ((training, RECORDS[:5].flatten(0, 1)), (test, RECORDS[5])):
        for (image, label), record in zip(part, records, strict=True):
            assert label == record[0]
            assert image[1, 2, 3] == record[1 + 1024 + 2 * 32 + 3] / 255
            assert torch.equal((image * 255).round().flatten().to(torch.uint8), record[1:])
    assert 0 <= training.tensors[0].min() <= training.tensors[0].max() <= 1


def test_what_is_pinned():
    assert images.CIFAR10 == "cifar-10-binary.tar.gz"
    assert len(bytes.fromhex(images.SHA256)) == 32
    assert images.HOSTS[0] == "https://www.cs.toronto.edu/~kriz/"
    assert all(one.startswith("https://") and one.endswith("/") for one in images.HOSTS)


def test_it_arrives_once(pinned, tmp_path, capfd):
    pinned.answers = [good(ARCHIVE), status(500)]
    check(cifar10(tmp_path))
    assert "B/s]" in capfd.readouterr().err, "no progress bar"
    check(cifar10(tmp_path))
    assert left_in(tmp_path) == ["cifar-10-binary.tar.gz"]
    assert len(pinned.requests) == 1


@pytest.mark.parametrize("bad", [status(404), good(ARCHIVE, stop=900), good(ARCHIVE[::-1])])
def test_a_mirror_helps(pinned, tmp_path, bad):
    pinned.answers = [bad] * 3 + [good(ARCHIVE)]
    check(cifar10(tmp_path))


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (status(404), ConnectionError, "404"),
        (good(ARCHIVE, stop=900), ConnectionError, "more expected"),
        (good(packed(extra=[tarfile.TarInfo("x")])), ValueError, "does not match"),
        (good(b"<html>slow down</html>"), ValueError, "does not match"),
    ],
    ids=["404", "cut", "checksum", "page"],
)
def test_nothing_half_is_kept(pinned, tmp_path, answer, error, says):
    pinned.answers = [answer]
    with pytest.raises(error, match=says) as caught:
        cifar10(tmp_path)
    assert all(pinned.url(name) in str(caught.value) for name in "ab")
    assert left_in(tmp_path) == []


def test_another_address_and_a_local_file(host, tmp_path):  # noqa: F811
    host.answers = [good(ARCHIVE), status(500)]
    for _ in range(2):
        check(cifar10(tmp_path / "kept", host.url()))
    source = tmp_path / "mine.tar"
    source.write_bytes(gzip.decompress(ARCHIVE))
    check(cifar10(url=source))
    assert left_in(tmp_path) == ["kept", "mine.tar"]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        cifar10(url=tmp_path / "nowhere")


def without(name):
    return {n: data for n, data in FILES.items() if n != name}


def linked():
    info = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
    return packed(without("test_batch.bin"), extra=[info])


@pytest.mark.parametrize(
    ("archive", "says"),
    [
        (b"<html>", "not a good archive"),
        (b"", "not a good archive"),
        (ARCHIVE[:-2000], "not a good archive"),
        (ARCHIVE[:3000] + bytes(50) + ARCHIVE[3050:], "not a good archive"),
        (packed(without("test_batch.bin")), r"lacks \['test_batch.bin'\]"),
        (packed({}), "lacks .*data_batch_1.bin"),
        (linked(), "lacks"),
        (packed({**FILES, "data_batch_2.bin": bytes(3074)}), "data_batch_2.bin has 3,074 bytes, no records of 3,073"),
        (packed({**FILES, "data_batch_2.bin": b""}), "data_batch_2.bin has 0 bytes"),
        (packed({**FILES, "test_batch.bin": b"\xff" * 3073}), "from 0 to 9, got 255"),
    ],
    ids=["page", "empty", "cut", "changed", "member", "members", "link", "record", "no-record", "class"],
)  # fmt: skip
def test_damaged_archives(host, tmp_path, archive, says):  # noqa: F811
    (tmp_path / "mine").write_bytes(archive)
    with pytest.raises(ValueError, match=says):
        cifar10(url=tmp_path / "mine")
    host.answers = [good(archive)]
    if says != "from 0 to 9, got 255":
        with pytest.raises(ValueError, match=says):
            cifar10(tmp_path / "kept", host.url())
        assert left_in(tmp_path / "kept") == []


def test_a_member_that_is_too_large(monkeypatch, tmp_path):
    monkeypatch.setattr(images, "LARGEST", 3073 * 3)
    (tmp_path / "mine").write_bytes(ARCHIVE)
    with pytest.raises(ValueError, match="data_batch_1.bin has 12,292 bytes"):
        cifar10(url=tmp_path / "mine")


def test_paths_of_members_are_not_followed(tmp_path):
    (tmp_path / "mine").write_bytes(packed(folder="../../"))
    check(cifar10(url=tmp_path / "mine"))
    assert left_in(tmp_path) == ["mine"]
