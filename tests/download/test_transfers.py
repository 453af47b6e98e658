"""millrace download against servers of our own: what they list, how they break, what is continued."""

import hashlib
import os
import re
import resource
import signal
import socket

import pytest
from download_server import BIG, FLUX_REPOSITORY, Fault, add_big, assert_big, noise, parts, tree, wait_for_part, wait_until

# Both kinds of source


def test_fetches_an_mlcommons_data_set_and_leaves_it_alone_afterwards(download, server, tmp_path):
    files = {f"data-{i:05d}-of-00007.arrow": noise(200_000 + i, i) for i in range(7)}
    files |= {"state.json": b"{}", "deeper/a file+.txt": b"x", "empty.bin": b""}
    server.add_mlcommons("flux-1-cc12m-preprocessed", "flux_1/datasets/cc12m_preprocessed", files)
    result = download("cc12m-preprocessed")
    assert tree(tmp_path / "cc12m_preprocessed") == files
    assert "Fetched 10 files" in result.stdout
    assert parts(tmp_path / "cc12m_preprocessed") == []
    server.forget()
    assert "All 10 files are there already" in download("cc12m-preprocessed").stdout
    # What was verified needs no request, not even for its size.
    assert {r.path for r in server.requests} == {f"/metadata/flux-1-cc12m-preprocessed.{end}" for end in ("uri", "md5")}


def test_a_data_set_of_one_file_goes_to_where_one_is(download, server, tmp_path):
    server.add_mlcommons("flux-1-coco-2014-val-30k", "flux_1/datasets", {"val2014_30k.tsv": b"image_id\tid\n"})
    download("val2014-captions")
    assert (tmp_path / "val2014_30k.tsv").read_bytes() == b"image_id\tid\n"


def test_takes_the_url_of_a_uri_file(download, server, tmp_path):
    server.add_mlcommons("mine", "x/y/my_set", {"a.tar": b"one", "b.tar": b"two"})
    download(server.url("/metadata/mine.uri"))
    assert tree(tmp_path / "my_set") == {"a.tar": b"one", "b.tar": b"two"}


def test_fetches_a_repository_in_pages_from_another_host(download, server, cdn, tmp_path):
    files = {f"shard-{i:03d}.tar": noise(5000 + i, i) for i in range(23)} | {"README.md": b"# read me\n", "a/b/c.json": b"{}"}
    server.add_repository("datasets/owner/name", files, page_size=10, cdn=cdn)
    download("dataset", "owner/name", "--jobs", 3)
    assert tree(tmp_path / "name") == files
    assert len([r for r in server.requests if "/tree/" in r.path]) == 3
    assert len([r for r in cdn.requests if r.path.startswith("/blobs/")]) == 23


def test_a_revision_is_one_commit_from_the_first_request_on(download, server, tmp_path):
    server.add_repository("owner/name", {"w.safetensors": b"v1"}, revision="v1.0", commit="a" * 40)
    download("hf:owner/name@v1.0", "--output", "out")
    assert tree(tmp_path / "out") == {"w.safetensors": b"v1"}
    assert server.of(f"/owner/name/resolve/{'a' * 40}/w.safetensors")


def test_a_mirror_that_knows_no_commits_serves_the_branch(download, server, tmp_path):
    server.add_repository("owner/name", {"w.safetensors": b"v1"}, commit="main")
    del server.resources["/api/models/owner/name/revision/main"]
    download("hf:owner/name")
    assert tree(tmp_path / "name") == {"w.safetensors": b"v1"}


def test_encoders_lie_where_the_mlperf_configuration_names_them(download, server, tmp_path):
    server.add_repository("black-forest-labs/FLUX.1-schnell", FLUX_REPOSITORY)
    download("encoders", "--output", "models")
    assert set(tree(tmp_path / "models")) == {
        "autoencoder/ae.safetensors",
        "clip/config.json",
        "clip/merges.txt",
        "clip/model.safetensors",
        "clip/vocab.json",
        "t5/config.json",
        "t5/model-00001-of-00002.safetensors",
        "t5/model-00002-of-00002.safetensors",
        "t5/model.safetensors.index.json",
        "t5/spiece.model",
        "t5/tokenizer.json",
    }
    assert tree(tmp_path / "models")["t5/config.json"] == b'{"model_type": "t5"}'
    download("flux-schnell")
    assert set(tree(tmp_path / "flux-schnell")) == {"flux1-schnell.safetensors"}


def test_what_a_lora_needs_lies_where_the_scripts_look(download, server, tmp_path):
    server.add_repository("black-forest-labs/FLUX.1-dev", FLUX_REPOSITORY | {"flux1-dev.safetensors": noise(4000, 9), "LICENSE": b"terms"})
    encoders = {"clip_l.safetensors": noise(2000, 10), "t5xxl_fp16.safetensors": noise(3000, 11)}
    server.add_repository("comfyanonymous/flux_text_encoders", encoders | {"t5xxl_fp8_e4m3fn.safetensors": noise(1500, 12), "README.md": b"#"})
    listed = download("flux-dev-lora-set", "--dry-run").stdout
    assert "clip_l.safetensors" in listed and "flux_dev.safetensors" in listed and not (tmp_path / "flux").exists()
    download("flux-dev-lora-set")
    fetched = tree(tmp_path / "flux")
    assert set(fetched) == {
        "LICENSE", "ae.safetensors", "clip_l.safetensors", "flux_dev.safetensors", "t5xxl_fp16.safetensors",
        "tokenizer/merges.txt", "tokenizer/vocab.json", "tokenizer_2/spiece.model", "tokenizer_2/tokenizer.json",
    }  # fmt: skip
    assert fetched["flux_dev.safetensors"] == noise(4000, 9) and fetched["t5xxl_fp16.safetensors"] == encoders["t5xxl_fp16.safetensors"]
    before = len(server.requests)
    download("flux-dev-lora-set")  # all there
    assert not [request for request in server.requests[before:] if "/resolve/" in request.path]


def test_patterns_choose_files_and_pickles_are_left_out(download, server, tmp_path):
    files = {"a.safetensors": b"a", "b.safetensors": b"b", "sub/c.safetensors": b"c", "pytorch_model.bin": b"pickle"}
    server.add_repository("owner/name", files)
    download("hf:owner/name", "--include", "*.safetensors", "--exclude", "sub/", "--output", "some")
    assert set(tree(tmp_path / "some")) == {"a.safetensors", "b.safetensors"}
    result = download("hf:owner/name", "--output", "all")
    assert set(tree(tmp_path / "all")) == set(files) - {"pytorch_model.bin"}
    assert "pytorch_model.bin" in result.stderr
    download("hf:owner/name", "--include", "*.bin", "--output", "all")
    assert (tmp_path / "all" / "pytorch_model.bin").read_bytes() == b"pickle"
    assert "got none of 4" in download("hf:owner/name", "--include", "*.gguf", status=3).stderr


# Broken transfers

def test_a_connection_that_breaks_is_continued(download, server, tmp_path):
    add_big(server).faults = [Fault(break_after=n) for n in (400_000, 700_000, 0, 900_001)]
    download("coco")
    assert_big(tmp_path)
    ranges = [r.headers.get("Range") for r in server.of("/coco/shard_00000.tar")]
    assert ranges[0] is None and all(re.fullmatch(r"bytes=\d+-", r) for r in ranges[1:])
    assert server.served("/coco/shard_00000.tar") == len(BIG), "every byte came once"


def test_a_server_that_ignores_ranges_starts_from_the_beginning(download, server, tmp_path):
    resource = add_big(server)
    resource.faults = [Fault(break_after=1_000_000), Fault(break_after=2_000_000, ignore_range=True), Fault(ignore_range=True)]
    assert "cannot continue" in download("coco").stderr
    assert_big(tmp_path)


def test_a_server_that_never_gets_further_is_given_up(download, server):
    add_big(server).always = Fault(break_after=1_000_000, ignore_range=True)
    message = download("coco", "--retries", 2, status=3).stderr
    assert "/coco/shard_00000.tar] expected a stable connection" in message
    assert len(server.of("/coco/shard_00000.tar")) == 3


@pytest.mark.parametrize("lie", [-1000, 1000])
@pytest.mark.parametrize("hub", [False, True])
def test_a_wrong_content_length_is_not_believed(download, server, tmp_path, lie, hub):
    if hub:
        server.add_repository("owner/coco", {"shard_00000.tar": BIG, "shard_00001.tar": b"small"})
        resource = server.resources[f"/owner/coco/resolve/{'c' * 40}/shard_00000.tar"]
    else:
        resource = add_big(server)
    resource.faults = [Fault(declare=lie), Fault(break_after=500_000)]
    download("hf:owner/coco" if hub else "coco")
    assert_big(tmp_path)


@pytest.mark.slow
def test_a_server_that_always_lies_about_the_length_is_named(download, server, tmp_path):
    server.add_repository("owner/coco", {"x.tar": BIG})
    server.resources[f"/owner/coco/resolve/{'c' * 40}/x.tar"].always = Fault(declare=-7)
    message = download("hf:owner/coco", status=3).stderr
    assert "x.tar] expected 3,000,000 bytes, got an answer of 2,999,993" in message
    assert tree(tmp_path / "coco") == {}


def test_a_file_that_changes_midway_is_fetched_anew(download, server, tmp_path):
    resource = add_big(server)
    old = noise(len(BIG), 7)
    resource.content = old
    resource.etag = '"old"'
    resource.faults = [Fault(break_after=1_000_000), Fault(content=BIG, etag='"new"')]
    download("coco")
    assert_big(tmp_path)
    second = server.of("/coco/shard_00000.tar")[1]
    assert second.headers["If-Range"] == '"old"'


def test_a_change_that_the_server_does_not_tell_is_found_by_the_checksum(download, server, tmp_path):
    resource = add_big(server, etag="")
    resource.content = noise(len(BIG), 7)
    resource.faults = [Fault(break_after=1_000_000), Fault(content=BIG)]
    assert "downloading it once more" in download("coco").stderr
    assert_big(tmp_path)


@pytest.mark.slow
def test_a_file_that_changes_again_and_again_is_given_up(download, server):
    resource = add_big(server)
    resource.faults = [Fault(break_after=500_000 + i, etag=f'"{i}"') for i in range(40)]
    message = download("coco", status=3).stderr
    assert "shard_00000.tar] expected a file that stays the same" in message
    assert len(server.of("/coco/shard_00000.tar")) < 12


def test_a_wrong_file_is_fetched_twice_and_removed(download, server, tmp_path):
    wrong = noise(len(BIG), 9)
    add_big(server).content = wrong
    message = download("coco", status=3).stderr
    expected, got = (hashlib.md5(content).hexdigest() for content in (BIG, wrong))
    assert f"[shard_00000.tar] expected the checksum md5:{expected}, got md5:{got} again, and discarded it" in message
    assert server.served("/coco/shard_00000.tar") == 2 * len(BIG)
    assert tree(tmp_path / "coco") == {"shard_00001.tar": b"small"}, "the other file is there"
    assert parts(tmp_path / "coco") == []


@pytest.mark.slow
def test_a_silent_server_is_not_waited_for(download, server, tmp_path):
    add_big(server).faults = [Fault(silent=True), Fault(stall_after=300_000)]
    result = download("coco", "--timeout", 1)
    assert result.stderr.count("expected an answer in time") == 2
    assert_big(tmp_path)


def test_a_server_that_never_shakes_hands_is_not_waited_for(download):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"https://127.0.0.1:{mute.getsockname()[1]}/metadata/x.uri"
        message = download(url, "--connect-timeout", 1, "--retries", 1, status=3).stderr
        assert "expected an answer in time" in message


# Stopping and resuming


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_download_goes_on_where_it_was(start, download, server, tmp_path, how):
    add_big(server).faults = [Fault(stall_after=1_000_000)]
    process = start("coco")
    wait_for_part(tmp_path / "coco", 600_000)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == (-9 if how == signal.SIGKILL else 75), stderr
    assert "shard_00000.tar" not in tree(tmp_path / "coco")
    (part,) = parts(tmp_path / "coco")
    present = part.stat().st_size
    assert 600_000 <= present <= 1_000_000
    server.forget()
    download("coco")
    assert_big(tmp_path)
    assert server.served("/coco/shard_00000.tar") == len(BIG) - present


def test_a_part_of_another_content_is_not_continued(start, download, server, tmp_path):
    add_big(server).faults = [Fault(stall_after=1_000_000)]
    process = start("coco")
    wait_for_part(tmp_path / "coco", 500_000)
    process.kill()
    process.wait()
    newer = noise(len(BIG), 5)
    server.add_mlcommons("flux-1-coco", "coco", {"shard_00000.tar": newer})
    download("coco", "--output", "coco")
    assert tree(tmp_path / "coco")["shard_00000.tar"] == newer


def test_damage_to_a_part_is_found(start, download, server, tmp_path):
    add_big(server).faults = [Fault(stall_after=1_000_000)]
    process = start("coco")
    wait_for_part(tmp_path / "coco", 500_000)
    process.kill()
    process.wait()
    (part,) = parts(tmp_path / "coco")
    with part.open("r+b") as file:
        file.write(b"damage")
    assert "downloading it once more" in download("coco").stderr
    assert_big(tmp_path)


def test_a_full_disk_is_said_and_gone_on_from(start, download, server, tmp_path):
    add_big(server)

    def limit_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    process = start("coco", preexec_fn=limit_files)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 5
    assert re.search(r"\.part\] expected room for [\d,]+ more bytes, got: File too large", stderr)
    assert parts(tmp_path / "coco")[0].stat().st_size == 1_000_000
    server.forget()
    download("coco")
    assert_big(tmp_path)
    assert server.served("/coco/shard_00000.tar") == len(BIG) - 1_000_000


def test_free_space_is_looked_at_first(download, server, tmp_path):
    add_big(server).always = Fault(declare=10**16)
    message = download("coco", status=5).stderr
    assert re.search(r"\[coco\] expected 8\.88 PiB of free space, got", message)
    assert server.served("/coco/shard_00000.tar") == 0


def test_one_download_at_a_time_into_a_folder(start, download, server, tmp_path):
    add_big(server).faults = [Fault(stall_after=1_000_000)]
    process = start("coco")
    wait_until(lambda: server.served("/coco/shard_00000.tar") > 0, "the first bytes")
    message = download("coco", status=5).stderr
    assert f"[coco] expected no other download into this folder, got one (process {process.pid})" in message
    assert process.poll() is None


def test_a_dry_run_writes_nothing(download, server, tmp_path):
    add_big(server)
    output = download("coco", "--dry-run").stdout
    assert re.search(r"missing +2\.86 MiB +shard_00000\.tar", output)
    assert "2 files from" in output and "2.86 MiB to fetch into coco" in output
    assert list(tmp_path.iterdir()) == []
    assert server.served("/coco/shard_00000.tar") == 0


# What is there already


def test_verify_reads_everything_and_repairs(download, server, tmp_path):
    files = {"big.tar": noise(17 << 20, 1), "small.tar": b"small"}
    server.add_mlcommons("flux-1-coco", "coco", files)
    download("coco")
    path = tmp_path / "coco" / "big.tar"
    state = path.stat()
    with path.open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"rot")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a disk does it
    assert "are there already" in download("coco").stdout
    assert "got another file" in download("coco", "--verify").stderr
    assert tree(tmp_path / "coco") == files
    server.forget()
    assert "are there already" in download("coco", "--verify").stdout
    assert server.served("/coco/big.tar") == 0


def test_files_of_other_tools_are_taken_over(download, server, tmp_path):
    files = {"big.tar": noise(17 << 20, 1), "small.tar": b"small", "cut.tar": b"whole", "wrong.tar": b"right"}
    server.add_mlcommons("flux-1-coco", "coco", files)
    (tmp_path / "coco").mkdir()
    for name, content in (files | {"cut.tar": b"who", "wrong.tar": b"wrong"}).items():
        (tmp_path / "coco" / name).write_bytes(content)
    result = download("coco")
    assert "1 file of them taken as complete by size alone" in result.stderr
    assert "Fetched 2 files" in result.stdout
    assert tree(tmp_path / "coco") == files
    assert server.served("/coco/big.tar") == 0


def test_a_newer_file_of_the_same_size_replaces_the_old(download, server, tmp_path):
    old, new = noise(17 << 20, 1), noise(17 << 20, 2)
    server.add_mlcommons("flux-1-coco", "coco", {"a.tar": old, "b.tar": b"b"})
    download("coco")
    server.add_mlcommons("flux-1-coco", "coco", {"a.tar": new, "b.tar": b"b"})
    download("coco")
    assert tree(tmp_path / "coco")["a.tar"] == new
