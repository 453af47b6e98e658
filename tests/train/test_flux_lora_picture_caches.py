"""LoRA on FLUX from pictures in folders: what is kept of the frozen networks, in memory, on the disk and by sd-scripts."""

import os

import numpy
from helpers import load
from picture_runs import (  # noqa: F401  (fixtures)
    CODED,
    STILL,
    base,
    coded,
    curve,
    dataset,
    folder,
    make_base,
    picture,
    said,
    subset_of,
    train,
)


def test_caches_change_no_number(train, folder, tmp_path, coded):  # noqa: F811
    path = folder("cat", 4, sizes=[(64, 32), (32, 32)])
    data = dataset(tmp_path / "set.toml", subset_of(path, "flip_aug = true"), resolution=64, batch_size=1)
    data.write_text(data.read_text().replace("reso_steps = 16", "reso_steps = 32").replace("min_bucket_reso = 16", "min_bucket_reso = 32"))
    run = ["--training.steps=8", "--checkpoint.no_enable", *CODED]
    expected = curve(train(data, *run, "--encoder.cache_latents=none", "--encoder.cache_encodings=none", run="none", weights=coded))
    assert curve(train(data, *run, run="auto", weights=coded)) == expected
    on_disk = ["--encoder.cache_latents=disk", "--encoder.cache_encodings=disk", f"--encoder.cache_folder={tmp_path / 'cache'}"]
    assert curve(train(data, *run, *on_disk, run="disk", weights=coded)) == expected
    files = {file.name: file.read_bytes() for file in (tmp_path / "cache").glob("*.safetensors")}
    assert 4 < len(files) <= 8  # some pictures are there mirrored, too
    assert curve(train(data, *run, *on_disk, run="again", weights=coded)) == expected
    assert {file.name: file.read_bytes() for file in (tmp_path / "cache").glob("*.safetensors")} == files

    # A damaged file is made anew, and an edited picture is encoded again.
    name = next(iter(files))
    (tmp_path / "cache" / name).write_bytes(b"damaged")
    assert curve(train(data, *run, *on_disk, run="damaged", weights=coded)) == expected
    assert (tmp_path / "cache" / name).read_bytes() == files[name]
    picture(path / "001.png", (32, 32), 77)
    assert curve(train(data, *run, *on_disk, run="edited", weights=coded)) != expected
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) > len(files)


def test_variants_of_pictures_that_change_are_kept(train, folder, tmp_path, coded):  # noqa: F811
    """Four epochs of two variants: each picture is encoded twice."""
    path = folder("cat", 2, sizes=[(80, 64)])
    data = dataset(tmp_path / "set.toml", subset_of(path, "random_crop = true", "color_aug = true"), batch_size=2)
    data.write_text(data.read_text().replace("reso_steps = 16", "reso_steps = 32").replace("min_bucket_reso = 16", "min_bucket_reso = 32"))
    on_disk = [*STILL, *CODED, "--encoder.cache_latents=disk", f"--encoder.cache_folder={tmp_path / 'cache'}"]
    train(data, *on_disk, "--encoder.cache_variants=2", weights=coded)
    assert sum("mean" in load(file) for file in (tmp_path / "cache").rglob("*.safetensors")) == 4
    assert "(try encoder.cache_variants = 4)" in train(data, *on_disk, status=2, weights=coded).stderr
    shards = train(data, "--training.dataset=webdataset", "--encoder.cache_variants=2", status=2).stderr
    assert '[encoder.cache_variants] expected training.dataset = "pictures" with it' in shards


def test_caches_of_sd_scripts_are_trained_on(train, folder, tmp_path, coded):  # noqa: F811
    """Latents from the files beside the pictures, while they are newer than these; whole epochs without the autoencoder."""
    path = folder("cat", 4, sizes=[(64, 32)])
    data = dataset(tmp_path / "set.toml", subset_of(path), resolution=64, batch_size=2)
    data.write_text(data.read_text().replace("reso_steps = 16", "reso_steps = 32").replace("min_bucket_reso = 16", "min_bucket_reso = 32"))
    run = [*STILL, *CODED, "--encoder.kohya_caches=read"]
    own = curve(train(data, *run, run="none", weights=coded))
    random_latents = numpy.random.default_rng(1)
    for i in range(4):
        numpy.savez(path / f"{i:03d}_0064x0032_flux.npz",
                    latents_4x8=random_latents.standard_normal((16, 4, 8)).astype(numpy.float32),
                    original_size_4x8=numpy.array([64, 32]), crop_ltrb_4x8=numpy.array([0.0, 0.0, 64.0, 32.0]))  # fmt: skip
    files = {file.name: file.read_bytes() for file in path.glob("*.npz")}
    read = train(data, *run, run="read", weights=coded)
    assert curve(read) != own and "encoding again" not in said(read)
    assert curve(train(data, *run, run="again", weights=coded)) == curve(read)
    assert {file.name: file.read_bytes() for file in path.glob("*.npz")} == files  # nothing is written
    later = (path / "000_0064x0032_flux.npz").stat().st_mtime + 10
    for i in range(4):
        os.utime(path / f"{i:03d}.png", (later, later))
    stale = train(data, *run, run="stale", weights=coded)
    assert curve(stale) == own and "expected a cache newer than 000.png, got an older one: encoding again" in said(stale)
    for i in range(4):
        os.utime(path / f"{i:03d}.png", (1, 1))
        (path / f"{i:03d}_0064x0032_flux.npz").write_bytes(b"damaged")
    damaged = train(data, *run, run="damaged", weights=coded)
    assert curve(damaged) == own and "expected the directory of a .npz file" in said(damaged)


def test_caches_of_sd_scripts_need_pictures(train, folder, tmp_path):  # noqa: F811
    data = dataset(tmp_path / "set.toml", subset_of(folder("cat", 4)))
    assert "[encoder.kohya_caches] expected none without encoder.cache_latents" in train(
        data, "--encoder.kohya_caches=read", status=2).stderr  # fmt: skip
    assert "[encoder.kohya_caches] expected none or read with random encoders, got write" in train(
        data, "--encoder.kohya_caches=write", *CODED, status=2).stderr  # fmt: skip
