"""LoRA on FLUX from pictures in folders: the pictures that are validated on, and not trained on."""

import json

import pytest
from picture_runs import SHORT, STILL, base, curve, dataset, folder, log, make_base, metadata, said, subset_of, train  # noqa: F401  (fixtures)

VALIDATE = ["--validation.enable", "--validation.freq=2", "--validation.local_batch_size=2"]


def test_a_part_is_held_back_for_validation(train, folder, tmp_path):  # noqa: F811
    data = dataset(tmp_path / "set.toml", subset_of(folder("cat", 10)), general="validation_split = 0.3")
    options = ["--validation.enable", "--validation.freq=2", "--validation.local_batch_size=2"]
    output = train(data, *options, *SHORT)
    assert "7 pictures" in log(output)
    assert curve(output, "validation_samples") == [3, 3]
    still = curve(train(data, *options, *STILL, run="still"), "validation_loss")
    assert still[0] == still[1]
    other = curve(train(data, *options, *STILL, "--validation.local_batch_size=3", run="other"), "validation_loss")
    assert other == pytest.approx(still, rel=1e-6)
    assert "holds back 3 pictures that nothing is validated on" in said(train(data, *SHORT, run="without"))


def test_a_part_is_held_back_of_folders_and_files_alike(train, folder, tmp_path):  # noqa: F811
    folder("sets/3_cat", 8, sizes=[(32, 32)])
    folder("sets/1_dog", 4, sizes=[(32, 32)])
    of_folders = ["--training.img_size=32", "--training.local_batch_size=4", *VALIDATE, "--validation.split=0.25"]
    output = train(tmp_path / "sets", *of_folders, *SHORT, run="folders")
    assert "9 pictures" in log(output) and curve(output, "validation_samples") == [3, 3]
    assert metadata(output / "lora.safetensors")["ss_num_validation_images"] == "3"

    # The same pictures are held back by a file, whatever else it says, and by a copy of the folders elsewhere.
    subsets = [subset_of(tmp_path / "sets" / name, f"num_repeats = {repeats}") for name, repeats in (("1_dog", 2), ("3_cat", 1))]
    data = dataset(tmp_path / "set.toml", *subsets)
    still = [*STILL, *VALIDATE, "--validation.split=0.25"]
    of_file = curve(train(data, *still, run="file"), "validation_loss")
    of_folder = curve(train(tmp_path / "sets", *of_folders, *STILL, run="still"), "validation_loss")
    assert of_file == pytest.approx(of_folder, rel=1e-6) and of_file[0] == of_file[1]
    assert curve(train(data, *still, "--validation.local_batch_size=3", run="threes"), "validation_loss") == pytest.approx(of_file, rel=1e-6)


def test_a_split_that_leaves_nothing_on_one_side_is_refused(train, folder, tmp_path):  # noqa: F811
    data = dataset(tmp_path / "set.toml", subset_of(folder("cat", 4, sizes=[(32, 32)])))

    def refused(*options, of=data):
        return train(of, *options, status=2).stderr

    assert "[validation.split] expected a part of the 4 pictures of" in refused("--validation.enable", "--validation.split=0.1")
    assert "[validation.split] expected a part of the 4 pictures of" in refused("--validation.enable", "--validation.split=0.9")
    assert "[validation.split] expected validation.enable with it" in refused("--validation.split=0.5")
    assert "[--validation.split] expected a number, at least 0 and below 1" in refused("--validation.enable", "--validation.split=1")
    both = refused("--validation.enable", "--validation.split=0.5", f"--validation.dataset_path={data}")
    assert "[validation.split] expected validation.dataset_path or a part of the training data, got both" in both
    assert '[validation.split] expected training.dataset = "pictures"' in refused("--training.dataset=webdataset", "--validation.split=0.5")
    own = dataset(tmp_path / "own.toml", subset_of(tmp_path / "cat"), general="validation_split = 0.5")
    two = refused("--validation.enable", "--validation.split=0.5", of=own)
    assert "[validation.split] expected no validation_split in the data set file with it, got 0.5" in two


def test_another_folder_is_validated_on_whole(train, folder, millrace, tmp_path):  # noqa: F811
    data = dataset(tmp_path / "set.toml", subset_of(folder("cat", 4, sizes=[(32, 32)])))
    folder("others/5_dog", 3, sizes=[(32, 32)])
    output = train(data, "--training.steps=4", "--training.img_size=32", *VALIDATE, f"--validation.dataset_path={tmp_path / 'others'}")
    assert "4 pictures" in log(output) and curve(output, "validation_samples") == [3, 3]
    file = dataset(tmp_path / "others.toml", subset_of(tmp_path / "others" / "5_dog"))
    both = [millrace("evaluate", output, "--json", f"--validation.dataset_path={path}").stdout for path in (tmp_path / "others", file)]
    assert both[0] == both[1]


def test_a_resumed_run_holds_back_what_it_held_back(train, folder, millrace, tmp_path):  # noqa: F811
    data = dataset(tmp_path / "set.toml", subset_of(folder("cat", 8, sizes=[(32, 32)])))
    train(data, "--training.steps=4", *VALIDATE, "--validation.split=0.25")
    other = train(data, "--training.steps=8", *VALIDATE, "--validation.split=0.5", status=3).stderr
    assert "validation.split: 0.25 -> 0.5" in other and "with 6 pictures, got 4" in other
    output = train(data, "--training.steps=8", *VALIDATE, "--validation.split=0.25")
    assert len(curve(output)) == 8
    evaluated = json.loads(millrace("evaluate", output, "--json").stdout)
    assert evaluated["loss"] == pytest.approx(curve(output, "validation_loss")[-1], rel=1e-6) and evaluated["num_samples"] == 2
