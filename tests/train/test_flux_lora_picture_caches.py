"""LoRA on FLUX from pictures in folders: what is kept of the frozen networks, in memory, on the disk and by sd-scripts."""

import io
import os
import subprocess

import numpy
import pytest
from helpers import load, save
from picture_runs import (  # noqa: F401  (fixtures)
    CODED,
    LAPTOP,
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
from PIL import Image
from tiny_encoders import make_clip, make_t5
from train_ranks import Ranks

NPZ = "--encoder.cache_latents=npz"


def coded_set(path, *subsets, batch_size=2, general=""):
    """A data set of sizes that the autoencoder takes."""
    data = dataset(path, *subsets, resolution=64, batch_size=batch_size, general=general)
    data.write_text(data.read_text().replace("reso_steps = 16", "reso_steps = 32").replace("min_bucket_reso = 16", "min_bucket_reso = 32"))
    return data


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """A CLIP and a T5 that fit the tiny FLUX, as options."""
    folder = tmp_path_factory.mktemp("encoders")
    make_clip(folder / "clip")
    make_t5(folder / "t5", d_model=16, num_layers=2)
    return [f"--encoder.clip_encoder={folder / 'clip'}", f"--encoder.t5_encoder={folder / 't5'}", "--lora.no_train_clip_l"]


def contents(path, pattern="*.npz"):
    return {file.name: file.read_bytes() for file in path.glob(pattern)}


def test_caches_change_no_number(train, folder, tmp_path, coded):  # noqa: F811
    path = folder("cat", 4, sizes=[(64, 32), (32, 32)])
    data = coded_set(tmp_path / "set.toml", subset_of(path, "flip_aug = true"), batch_size=1)
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
    data = coded_set(tmp_path / "set.toml", subset_of(path))
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


def test_latents_beside_the_pictures_are_made_once(train, folder, tmp_path, coded, start):  # noqa: F811
    """As sd-scripts keeps them: one draw for ever, the same for a run that makes it, one that finds it, and many ranks."""
    path = folder("cat", 5, sizes=[(64, 32), (32, 32)])
    data = coded_set(tmp_path / "set.toml", subset_of(path, "flip_aug = true", "num_repeats = 2"), general="validation_split = 0.2")
    run = [*CODED, NPZ, "--checkpoint.no_enable", "--training.steps=12", "--validation.enable", "--validation.freq=6"]
    made = train(data, *run, run="made", weights=coded)
    files = contents(path)
    assert 4 <= len(files) <= 5 and not (made / "latents").exists()
    with numpy.load(path / "000_0064x0032_flux.npz") as arrays:
        (name,) = [name for name in arrays.files if name.startswith("latents_") and "flipped" not in name]
        assert arrays[name].dtype == numpy.float32 and f"crop_ltrb_{name.removeprefix('latents_')}" in arrays.files
    found = train(data, *run, run="found", weights=coded)
    assert curve(found) == curve(made) and curve(found, "validation_loss") == curve(made, "validation_loss")
    for file in path.glob("*.npz"):
        file.unlink()
    start(2, data, "ranks", *run, weights=coded).finish()
    assert curve(tmp_path / "ranks") == pytest.approx(curve(made), rel=1e-5)

    # A later edit, another filter and another autoencoder are other latents, whatever the files' times.
    picture(path / "002.png", (64, 32), 77)
    os.utime(path / "002.png", (1, 1))
    edited = train(data, *run, run="edited", weights=coded)
    assert "expected latents of " in said(edited) and "002.png as it is now trained on" in said(edited)
    assert said(edited).count("encoding again") <= 2  # of one picture, and perhaps of its mirror image
    again = train(data, *run, run="edited-again", weights=coded)
    assert "encoding again" not in said(again) and curve(again) == curve(edited) != curve(made)


def test_a_run_with_caches_beside_its_pictures_is_evaluated_on_shards(train, folder, millrace, tmp_path, coded, emoji_set):  # noqa: F811
    data = coded_set(tmp_path / "set.toml", subset_of(folder("cat", 4, sizes=[(32, 32)])))
    run = train(data, *CODED, NPZ, "--training.steps=2", "--checkpoint.interval=2", weights=coded)
    shards = emoji_set(8, 32)
    assert millrace("evaluate", run, "--validation.dataset=webdataset", f"--validation.dataset_path={shards}").stdout


@pytest.fixture
def start(program, tmp_path):
    def run(size, data, name, *overrides, weights):
        return Ranks(program, size, tmp_path / name, "--training.dataset=pictures", f"--training.dataset_path={data}",
                     f"--checkpoint.initial_load_path={weights}", "--report.no_enable", *overrides, config=LAPTOP)  # fmt: skip

    return run


def test_latents_of_sd_scripts_are_taken_and_completed(train, folder, tmp_path, coded):  # noqa: F811
    path = folder("cat", 4, sizes=[(64, 32)])
    data = coded_set(tmp_path / "set.toml", subset_of(path))
    random_latents = numpy.random.default_rng(1)
    theirs = {f"latents_4x8": random_latents.standard_normal((16, 4, 8)).astype(numpy.float32),
              "original_size_4x8": numpy.array([64, 32]), "crop_ltrb_4x8": numpy.array([0.0, 0.0, 64.0, 32.0])}  # fmt: skip
    numpy.savez(path / "000_0064x0032_flux.npz", **theirs)
    before = contents(path)
    run = [*STILL, *CODED]
    with_theirs = curve(train(data, *run, NPZ, run="npz", weights=coded))
    assert len(contents(path)) == 4 and contents(path).items() >= before.items()
    (path / "000_0064x0032_flux.npz").unlink()
    assert curve(train(data, *run, NPZ, run="own", weights=coded)) != with_theirs
    # What is newer than theirs is encoded again, and nothing of the older file stays.
    numpy.savez(path / "000_0064x0032_flux.npz", **theirs, latents_8x8=numpy.zeros((16, 8, 8), numpy.float32))
    os.utime(path / "000_0064x0032_flux.npz", (1, 1))
    assert "expected a cache newer than 000.png" in said(train(data, *run, NPZ, run="stale", weights=coded))
    with numpy.load(path / "000_0064x0032_flux.npz") as arrays:
        assert "latents_8x8" not in arrays.files and not numpy.array_equal(arrays["latents_4x8"], theirs["latents_4x8"])


def test_alpha_masks_lie_beside_the_latents(train, folder, tmp_path, coded):  # noqa: F811
    path = folder("cat", 4, sizes=[(64, 32)], mode="RGBA")
    for i, file in enumerate(sorted(path.glob("*.png"))):
        with Image.open(file) as image:
            image.putalpha(Image.linear_gradient("L").resize(image.size).rotate(90 * i))
            image.save(file)
    data = coded_set(tmp_path / "set.toml", subset_of(path, "alpha_mask = true", "flip_aug = true"))
    run = [*STILL, *CODED, NPZ, "--training.steps=8"]
    made = curve(train(data, *run, run="made", weights=coded))
    with numpy.load(path / "000_0064x0032_flux.npz") as arrays:
        mask = arrays["alpha_mask_4x8"]
        assert mask.shape == (32, 64) and mask.dtype == numpy.float32 and 0 <= mask.min() < mask.max() <= 1
    assert curve(train(data, *run, run="found", weights=coded)) == made
    plain = coded_set(tmp_path / "plain.toml", subset_of(path, "flip_aug = true"))
    assert all(masked < whole for masked, whole in zip(made, curve(train(plain, *run, run="plain", weights=coded)), strict=True))


def test_masks_in_files_of_their_own_are_read_beside_the_latents(train, folder, tmp_path, coded):  # noqa: F811
    path = folder("cat", 4, sizes=[(64, 32)])
    (tmp_path / "masks").mkdir()
    for file in path.glob("*.png"):
        Image.linear_gradient("L").resize((64, 32)).convert("RGB").save(tmp_path / "masks" / file.name)
    data = coded_set(tmp_path / "set.toml", subset_of(path, f'conditioning_data_dir = "{tmp_path / "masks"}"', "flip_aug = true"))
    run = [*STILL, *CODED, NPZ, "--training.steps=8", "--training.masked_loss"]
    made = curve(train(data, *run, run="made", weights=coded))
    files = contents(path)
    assert len(files) == 4 and curve(train(data, *run, run="found", weights=coded)) == made
    plain = coded_set(tmp_path / "plain.toml", subset_of(path, "flip_aug = true"))
    whole = curve(train(plain, *STILL, *CODED, "--training.steps=8", run="plain", weights=coded))
    assert all(0 < masked < loss for masked, loss in zip(made, whole, strict=True))
    # A mask that is edited counts at once; a broken one is a picture that cannot be read.
    for file in (tmp_path / "masks").glob("*.png"):
        Image.new("RGB", (64, 32)).save(file)
    assert curve(train(data, *run, run="black", weights=coded)) == [0] * 8
    (tmp_path / "masks" / "002.png").write_bytes(b"no picture")
    broken = train(data, *run, "--training.max_bad_samples=0.3", run="broken", weights=coded)
    assert "masks/002.png" in said(broken) and curve(broken) == [0] * 8


def test_encodings_beside_the_pictures_are_made_once(train, folder, tmp_path, encoders, base):  # noqa: F811
    path = folder("cat", 4, caption="a red cat {}", sizes=[(32, 32)])
    data = dataset(tmp_path / "set.toml", subset_of(path))
    run = [*STILL, *encoders, "--encoder.max_t5_encoding_len=8"]
    expected = curve(train(data, *run, "--encoder.cache_encodings=none", run="none"))
    npz = [*run, "--encoder.cache_encodings=npz"]
    assert curve(train(data, *npz, run="made")) == expected
    files = contents(path)
    assert sorted(files) == [f"{i:03d}_flux_te.npz" for i in range(4)]
    with numpy.load(path / "000_flux_te.npz") as arrays:
        assert {"l_pooled", "t5_out", "txt_ids", "t5_attn_mask", "apply_t5_attn_mask"} < set(arrays.files)
        assert arrays["t5_out"].shape == (8, 16) and 1 < arrays["t5_attn_mask"].sum() < 8
    assert curve(train(data, *npz, run="found")) == expected and contents(path) == files
    # Another caption, even with an older date, and another number of tokens are encoded again.
    (path / "001.txt").write_text("a small house")
    os.utime(path / "001.txt", (1, 1))
    edited = train(data, *npz, run="edited")
    assert "expected encodings of the caption of" in said(edited) and curve(edited) != expected
    changed = contents(path)
    assert [name for name in files if files[name] != changed[name]] == ["001_flux_te.npz"]
    longer = train(data, *npz, "--encoder.max_t5_encoding_len=9", run="longer")
    assert said(longer).count("encoding again") == 4
    # So does what lora.base_weights adds to the encoders.
    clip = train(data, *run, "--lora.train_clip_l", "--optimizer.lr=0.05", "--encoder.cache_encodings=none", run="clip")
    merged = [f"--lora.base_weights={clip / 'lora.safetensors'}", "--encoder.max_t5_encoding_len=9"]
    expected = curve(train(data, *run, *merged, "--encoder.cache_encodings=none", run="merged"))
    assert curve(train(data, *npz, *merged, run="merged_npz")) == expected
    assert curve(train(data, *npz, *merged, run="merged_found")) == expected
    train(data, *npz, "--encoder.max_t5_encoding_len=9", run="longer_again")
    # sd-scripts' own files say nothing of their captions: what was edited later is encoded again.
    with numpy.load(path / "002_flux_te.npz") as arrays:
        theirs = {name: array for name, array in arrays.items() if "millrace" not in name}
    numpy.savez(path / "002_flux_te.npz", **theirs | {"t5_out": theirs["t5_out"] + 1})
    nine = [*npz, "--encoder.max_t5_encoding_len=9"]
    assert curve(train(data, *nine, run="theirs")) != curve(longer)
    later = (path / "002_flux_te.npz").stat().st_mtime + 10
    os.utime(path / "002.txt", (later, later))
    newer = train(data, *nine, run="newer")
    assert curve(newer) == curve(longer) and "expected a cache newer than 002.txt" in said(newer)


@pytest.mark.parametrize("trained", ["train_clip_l", "train_t5xxl"])
def test_a_trained_encoder_leaves_the_other_ones_encodings(train, start, folder, tmp_path, encoders, base, trained):  # noqa: F811
    """The files are those of frozen encoders, of which each run takes what it does not train."""
    path = folder("cat", 4, caption="a red cat {}", sizes=[(32, 32)])
    data = dataset(tmp_path / "set.toml", subset_of(path), general="validation_split = 0.25")
    run = [*STILL, *encoders[:2], "--encoder.max_t5_encoding_len=8", "--optimizer.lr=0.05", "--validation.enable", "--validation.freq=4"]
    npz = "--encoder.cache_encodings=npz"
    train(data, *run, "--lora.no_train_clip_l", npz, run="frozen")
    files = contents(path)
    for file in path.glob("*.npz"):
        file.unlink()
    run += [f"--lora.{trained}", *(["--lora.no_train_clip_l"] if trained == "train_t5xxl" else [])]
    none = train(data, *run, "--encoder.cache_encodings=none", run="none")
    expected = curve(none)
    made = train(data, *run, npz, run="made")
    assert curve(made) == expected and curve(made, "validation_loss") == curve(none, "validation_loss")
    written = contents(path)
    assert written.keys() == files.keys() and len(files) == 4
    for name in files:
        now, before = (dict(numpy.load(io.BytesIO(each[name])).items()) for each in (written, files))
        assert now.keys() == before.keys()
        for key, array in before.items():  # a layer with adapters of strength 0 may round otherwise
            assert now[key] == pytest.approx(array, rel=1e-5, abs=1e-6)
    assert curve(train(data, *run, npz, run="found")) == expected
    for file in path.glob("*.npz"):
        file.unlink()
    start(2, data, "ranks", *run, npz, weights=base).finish()
    assert curve(tmp_path / "ranks") == pytest.approx(expected, rel=1e-5) and contents(path) == written
    # The frozen one's are read, the trained one's are not.
    frozen, other = ("t5_out", "l_pooled") if trained == "train_clip_l" else ("l_pooled", "t5_out")
    for changed, is_taken in ((other, False), (frozen, True)):
        for name in files:
            with numpy.load(path / name) as arrays:
                theirs = dict(arrays.items())
            numpy.savez(path / name, **theirs | {changed: theirs[changed] + 1})
        assert (curve(train(data, *run, npz, run=changed)) != expected) == is_taken


def test_replaced_encoders_encode_again(train, folder, tmp_path, base):  # noqa: F811
    """Weights in the same files, of which a cache on the disk has encodings."""
    data = dataset(tmp_path / "set.toml", subset_of(folder("cat", 4, caption="a red cat {}", sizes=[(32, 32)])))
    options = [*STILL, f"--encoder.clip_encoder={tmp_path / 'clip'}", f"--encoder.t5_encoder={tmp_path / 't5'}",
               "--lora.no_train_clip_l", "--encoder.max_t5_encoding_len=8"]  # fmt: skip
    on_disk = [*options, "--encoder.cache_encodings=disk", f"--encoder.cache_folder={tmp_path / 'cache'}"]

    make_clip(tmp_path / "clip")
    make_t5(tmp_path / "t5", d_model=16, num_layers=2)
    expected = curve(train(data, *options, "--encoder.cache_encodings=none", run="none"))
    assert curve(train(data, *on_disk, run="made")) == expected
    files = sorted((tmp_path / "cache").rglob("*.safetensors"))
    assert curve(train(data, *on_disk, run="found")) == expected and sorted((tmp_path / "cache").rglob("*.safetensors")) == files
    for name in ("clip", "t5"):
        file = tmp_path / name / "model.safetensors"
        save(file, {key: tensor * 1.5 for key, tensor in load(file).items()})
        before, expected = expected, curve(train(data, *options, "--encoder.cache_encodings=none", run=f"other_{name}"))
        assert curve(train(data, *on_disk, run=f"replaced_{name}")) == expected != before
    # Encodings of another precision are others, too.
    bf16 = [*on_disk, "--training.mixed_precision_param=bfloat16"]
    count = len(list((tmp_path / "cache").iterdir()))
    train(data, *bf16, run="bf16")
    assert len(list((tmp_path / "cache").iterdir())) == count + 2


def test_what_cannot_lie_beside_the_pictures_is_refused(train, folder, tmp_path, encoders, coded):  # noqa: F811
    data = coded_set(tmp_path / "set.toml", subset_of(folder("cat", 4, sizes=[(64, 32)])))

    def refused(*options):
        return train(data, *CODED, *options, status=2, weights=coded).stderr

    assert "[encoder.kohya_caches] expected none with cache_latents or cache_encodings = \"npz\"" in refused(NPZ, "--encoder.kohya_caches=read")
    assert "[encoder.cache_latents] expected memory or disk with encoder.cache_variants" in refused(NPZ, "--encoder.cache_variants=2")
    assert "[encoder.cache_encodings] expected T5 and CLIP from their files" in refused("--encoder.cache_encodings=npz")
    trained = [*encoders, "--encoder.cache_encodings=npz", "--lora.train_clip_l", "--lora.train_t5xxl"]
    assert "[encoder.cache_encodings] expected auto or none where both encoders are trained" in refused(*trained)
    shards = refused("--training.dataset=webdataset", NPZ)
    assert "[encoder.cache_latents] expected auto or none with shards, got npz" in shards


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["disk latents", "disk encodings", "npz latents", "npz encodings"])
def test_a_full_disk_ends_a_run_that_resumes_with_room(program, train, folder, tmp_path, coded, encoders, kind):  # noqa: F811
    """No file may be as long as what is cached: exit status 5 with the file's name, and nothing is lost."""
    how, what = kind.split()
    side, tokens = (256, 8) if what == "latents" else (32, 640)
    path = folder("cat", 4, caption="a red cat {}", sizes=[(side, side)])
    data = coded_set(tmp_path / "set.toml", subset_of(path), batch_size=1)
    data.write_text(data.read_text().replace("resolution = 64", f"resolution = {side}").replace("max_bucket_reso = 64", "max_bucket_reso = 256"))
    options = [*CODED, *encoders, f"--encoder.max_t5_encoding_len={tokens}", "--checkpoint.interval=4", "--sample.every_steps=0",
               "--encoder.cache_latents=none", "--encoder.cache_encodings=none", f"--encoder.cache_{what}={how}"]  # fmt: skip
    train(data, *options, "--training.steps=4", weights=coded)
    cached = path if how == "npz" else tmp_path / "run" / what

    def kept():
        return {file: file.read_bytes() for file in cached.rglob("*") if file.suffix in (".npz", ".safetensors")}

    before = kept()
    lost = max(before, key=lambda file: (len(before[file]), file))
    lost.unlink()  # it must be made again, which takes more than 32 KiB
    command = [program, "train", LAPTOP, f"--job.dump_folder={tmp_path / 'run'}", "--training.dataset=pictures",
               f"--training.dataset_path={data}", f"--checkpoint.initial_load_path={coded}", "--report.no_enable", *options,
               "--training.steps=8"]  # fmt: skip
    full = subprocess.run(["bash", "-c", 'ulimit -f 32; exec "$@"', "bash", *map(str, command)],
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert full.returncode == 5, full.stderr
    assert str(cached) in (line := full.stderr.splitlines()[-1]) and "expected room for" in line, full.stderr
    assert kept() == {file: content for file, content in before.items() if file != lost}
    assert not list(tmp_path.rglob("*.tmp-*"))
    again = train(data, *options, "--training.steps=8", weights=coded)
    assert kept() == before
    assert len(curve(again)) == 8
    assert curve(again) == curve(train(data, *options, "--training.steps=8", run="undisturbed", weights=coded))
