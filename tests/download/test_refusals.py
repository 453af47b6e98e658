"""millrace download against servers of our own: what they refuse, where they redirect, what they may not do, and what the user sees."""

import hashlib
import json
import os
import pty
import re
import resource
import socket
import threading
import time

import pytest
from download_server import BIG, FLUX_REPOSITORY, TOKEN, Fault, Server, add_big, assert_big, make_certificate, noise, tree, wait_until

# Refusals


def test_a_server_in_trouble_is_asked_again(download, server, tmp_path):
    statuses = (500, 502, 503, 504, 429, 408)
    files = {f"shard_{status}.tar": noise(300_000, status) for status in statuses}
    server.add_mlcommons("flux-1-coco", "coco", files)
    for status in statuses:
        server.resources[f"/coco/shard_{status}.tar"].faults = [Fault(status=status), Fault(break_after=100_000), Fault(status=status)]
    server.resources["/metadata/flux-1-coco.md5"].faults = [Fault(status=503)]
    said = download("coco", "--jobs", len(statuses)).stderr
    assert all(f"status {status}" in said for status in statuses)
    assert tree(tmp_path / "coco") == files


def test_a_list_of_a_server_that_is_not_there_does_not_take_long(download, server):
    server.close()
    begin = time.monotonic()
    said = download("coco", "--dry-run", status=3).stderr
    assert "coco" in said and time.monotonic() - begin < 30  # with the twelve tries of a download ten minutes


def test_retry_after_is_obeyed(download, server):
    """In each of its three forms a second at least; by its own schedule the program would ask again after half a second."""
    date = lambda: time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2))  # noqa: E731
    forms = {"seconds": {"Retry-After": "1"}, "date": lambda: {"Retry-After": date()}, "ratelimit": {"RateLimit": '"api";r=0;t=0'}}
    server.add_mlcommons("flux-1-coco", "coco", {f"{form}.tar": form.encode() for form in forms})
    for form, headers in forms.items():
        server.resources[f"/coco/{form}.tar"].faults = [Fault(status=429, headers=headers)]
    download("coco", "--jobs", len(forms))
    for form in forms:
        refused, served = server.of(f"/coco/{form}.tar")
        assert served.received_at - refused.answered_at >= 1, form


def test_a_wait_of_hours_is_reported_instead(download, server):
    add_big(server).always = Fault(status=429, headers={"Retry-After": "7200"})
    assert "expected to be served, got status 429" in download("coco", status=3).stderr


def test_a_missing_file_does_not_keep_the_others_back(download, server, tmp_path):
    server.add_mlcommons("flux-1-coco", "coco", {f"shard_{i:05d}.tar": noise(1000, i) for i in range(5)})
    del server.resources["/coco/shard_00002.tar"]
    message = download("coco", status=3).stderr
    assert "/coco/shard_00002.tar] expected the file, got status 404" in message
    assert "got all but 1" in message
    assert len(tree(tmp_path / "coco")) == 4


def test_a_gated_repository_says_where_to_ask(download, server, cdn, tmp_path):
    server.add_repository("black-forest-labs/FLUX.1-schnell", FLUX_REPOSITORY, cdn=cdn)
    for path, resource in server.resources.items():
        if "/resolve/" in path:
            resource.needs_token = TOKEN
    message = download("encoders", status=3).stderr
    assert "[hf:black-forest-labs/FLUX.1-schnell] expected access to this gated repository, got status 401" in message
    assert f"{server.url('/black-forest-labs/FLUX.1-schnell')}" in message
    assert "https://huggingface.co/settings/tokens in HF_TOKEN" in message
    download("encoders", env={"HF_TOKEN": TOKEN})
    assert (tmp_path / "models" / "autoencoder" / "ae.safetensors").read_bytes() == FLUX_REPOSITORY["ae.safetensors"]


@pytest.mark.parametrize(
    "status, headers, token, expected",
    [
        (403, {"X-Error-Code": "GatedRepo"}, TOKEN, "accept its terms with the token's account"),
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, TOKEN, "expected a token that Hugging Face accepts"),
        (401, {"X-Error-Code": "RepoNotFound"}, "", "expected a repository that is there and public"),
        (404, {"X-Error-Code": "RepoNotFound"}, TOKEN, "expected a repository that is there and public"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "", "expected a branch, tag or commit"),
    ],
)
def test_what_the_hub_refuses_is_explained(download, server, status, headers, token, expected):
    server.add("/api/models/owner/name/revision/main", always=Fault(status=status, headers=headers))
    message = download("hf:owner/name", env={"HF_TOKEN": token}, status=3).stderr
    assert f"[hf:owner/name] {expected}" in message or expected in message
    assert TOKEN not in message


def test_an_expired_signature_is_fetched_anew(download, server, cdn, tmp_path):
    server.add_repository("owner/name", {"w.safetensors": BIG}, cdn=cdn)
    (blob,) = cdn.resources.values()
    blob.faults = [Fault(break_after=1_000_000), Fault(status=403)]
    result = download("hf:owner/name")
    assert tree(tmp_path / "name") == {"w.safetensors": BIG}
    assert "topsecret" not in result.stderr, "signatures stay out of messages"


# Redirects and secrets


def test_the_token_goes_to_the_hub_alone(start, server, cdn, tmp_path):
    files = {f"w{i}.safetensors": noise(300_000, i) for i in range(3)} | {"config.json": b"{}"}
    server.add_repository("owner/name", files, cdn=cdn, bytes_per_second=400_000)
    looked = threading.Event()
    for resource in cdn.resources.values():
        resource.faults = [Fault(wait_for=lambda: looked.wait(120))]
    process = start("hf:owner/name", "--progress-every", "0.2", env={"HF_TOKEN": TOKEN + "\n"})
    wait_until(lambda: cdn.requests, "a request for a file")
    command_line = open(f"/proc/{process.pid}/cmdline").read()
    looked.set()
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert "hf:owner/name" in command_line and TOKEN not in command_line + stdout + stderr
    assert server.requests and all(r.headers.get("Authorization") == f"Bearer {TOKEN}" for r in server.requests)
    assert cdn.requests and not any("Authorization" in r.headers or TOKEN in str(r) for r in cdn.requests)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_the_token_does_not_go_to_the_same_server_by_another_name(download, server, tmp_path):
    """127.0.0.1 is not localhost: formally another host."""
    server.add_repository("owner/name", {"w.safetensors": b"weights"})
    path = f"/owner/name/resolve/{'c' * 40}/w.safetensors"
    server.resources["/moved"] = server.resources[path]
    server.add(path, redirect=server.url("/moved", host="127.0.0.1"))
    download("hf:owner/name", env={"HF_TOKEN": TOKEN})
    assert "Authorization" in server.of(path)[0].headers
    assert "Authorization" not in server.of("/moved")[0].headers


def test_a_redirect_within_the_hub_keeps_the_token(download, server, tmp_path):
    """A repository that was renamed."""
    server.add_repository("new/name", {"w.safetensors": b"weights"})
    server.add("/api/models/old/name/revision/main", redirect="/api/models/new/name/revision/main")
    server.add(f"/api/models/old/name/tree/{'c' * 40}?recursive=true", redirect=f"/api/models/new/name/tree/{'c' * 40}?recursive=true")
    server.add(f"/old/name/resolve/{'c' * 40}/w.safetensors", redirect=f"/new/name/resolve/{'c' * 40}/w.safetensors")
    download("hf:old/name", env={"HF_TOKEN": TOKEN})
    assert tree(tmp_path / "name") == {"w.safetensors": b"weights"}
    assert all("Authorization" in r.headers for r in server.requests)


def test_mlcommons_gets_no_token(download, server):
    server.add_mlcommons("flux-1-coco", "coco", {"a.tar": b"a", "b.tar": b"b"})
    download("coco", env={"HF_TOKEN": TOKEN})
    assert not any("Authorization" in r.headers for r in server.requests)


@pytest.mark.parametrize("variable, file", [("HF_HOME", "token"), ("HF_TOKEN_PATH", ""), ("XDG_CACHE_HOME", "huggingface/token")])
def test_the_token_file_of_huggingface_hub_is_found(download, server, tmp_path, variable, file):
    server.add_repository("owner/name", {"w.safetensors": b"weights"})
    path = tmp_path / "somewhere" / file if file else tmp_path / "somewhere"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TOKEN + "\n")
    download("hf:owner/name", env={"HF_HOME": ""} | {variable: tmp_path / "somewhere"})
    assert all(r.headers["Authorization"] == f"Bearer {TOKEN}" for r in server.requests)


def test_a_token_that_is_none_is_not_shown(download, server):
    message = download("hf:owner/name", env={"HF_TOKEN": "hf_abc\r\nX-Evil: 1"}, status=2).stderr
    assert "[HF_TOKEN] expected a token" in message
    assert "hf_abc" not in message


@pytest.mark.parametrize(
    "target, expected",
    [
        ("http://192.0.2.1/x", "expected a redirect to https"),
        ("http://localhost:1/x", "expected a redirect to https"),
        ("ftp://localhost/x", "expected a redirect to a URL"),
        ("https://user:password@localhost/x", "expected a redirect to a URL"),
        ("", "expected a redirect with a target"),
        ("/coco/shard_00000.tar", "expected at most 8 redirects"),
        ("https://mlcommons.cloudflareaccess.com/cdn-cgi/access/login/x", "a login page"),
    ],
)
def test_bad_redirects_are_refused(download, server, target, expected):
    add_big(server)
    if target:
        server.add("/coco/shard_00000.tar", redirect=target)
    else:
        server.add("/coco/shard_00000.tar", always=Fault(status=302))
    assert expected in download("coco", "--retries", 0, status=3).stderr


# Hostile lists


@pytest.mark.parametrize(
    "path, problem",
    [
        ("../outside", "a path with .."),
        ("a/../../outside", "a path with .."),
        ("/etc/outside", "an absolute path"),
        ("a\\..\\outside", "a backslash"),
        ("a//b", "an empty folder name"),
        ("a/", "an empty folder name"),
        ("bell\x07", "a control character"),
        ("esc\x1b[2J", "a control character"),
        (".millrace-download/verified", "millrace's own folder"),
        ("x" * 300, "a name of more than 255 bytes"),
    ],
)
def test_no_list_leads_outside(download, server, tmp_path, path, problem):
    digest = hashlib.md5(b"evil").hexdigest()
    server.add("/metadata/flux-1-coco.uri", server.url("/coco"))
    server.add("/metadata/flux-1-coco.md5", f"{digest}  {path}\n")
    message = download("coco", "--output", "out", status=3).stderr
    assert "flux-1-coco.md5:1]" in message and problem in message
    entry = {"type": "file", "oid": "0" * 40, "size": 4, "path": path}
    server.add("/api/models/owner/name/tree/main?recursive=true", json.dumps([entry]))
    message = download("hf:owner/name", "--output", "out", status=3).stderr
    assert problem in message
    assert "\x1b" not in message and "\x07" not in message
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", "expected a list of files"),
        ("<!DOCTYPE html><html>", 'expected "<md5>  <path>"'),
        ("0123  a.tar\n", 'expected "<md5>  <path>"'),
        ("g" * 32 + "  a.tar\n", 'expected "<md5>  <path>"'),
        ("0" * 32 + "  a.tar\n" + "1" * 32 + "  a.tar\n", "twice"),
        ("0" * 32 + "  a\n" + "1" * 32 + "  a-b\n" + "1" * 32 + "  a/b\n", "as both"),
    ],
)
def test_damaged_md5_lists_are_refused(download, server, text, expected):
    server.add("/metadata/flux-1-coco.uri", server.url("/coco"))
    server.add("/metadata/flux-1-coco.md5", text)
    assert expected in download("coco", status=3).stderr


@pytest.mark.parametrize("text", ["", "not a url", "ftp://x/y", "http://192.0.2.1/x", "https://a/b\nhttps://c/d", "https://u:p@a/b"])
def test_damaged_uri_files_are_refused(download, server, text):
    server.add("/metadata/flux-1-coco.uri", text)
    assert "flux-1-coco.uri] expected" in download("coco", status=3).stderr


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[1]",
        "[[[[[[[[[[[[[[[[[[[[",
        '[{"type": "file", "path": "a"}]',
        '[{"type": "file", "path": "a", "size": -1, "oid": "' + "0" * 40 + '"}]',
        '[{"type": "file", "path": "a", "size": 1.5, "oid": "' + "0" * 40 + '"}]',
        '[{"type": "file", "path": "a", "size": 1, "oid": "zz"}]',
        '[{"type": "file", "path": "a", "size": 1, "oid": "' + "0" * 40 + '", "lfs": {"oid": "00", "size": 1}}]',
        '[{"type": "file", "path": 7, "size": 1, "oid": "' + "0" * 40 + '"}]',
    ],
)
def test_damaged_trees_are_refused(download, server, text):
    server.add("/api/models/owner/name/tree/main?recursive=true", text)
    assert "millrace: [https://localhost" in download("hf:owner/name", status=3).stderr


def test_the_next_page_is_on_the_same_server(download, server):
    tree_path = "/api/models/owner/name/tree/main?recursive=true"
    server.add(tree_path, "[]", headers={"Link": '<https://elsewhere.example/x>; rel="next"'})
    assert "expected the next page of the list on the same server" in download("hf:owner/name", status=3).stderr
    server.add(tree_path, "[]", headers={"Link": f'<{server.url(tree_path)}>; rel="next"'})
    assert "expected the next page" in download("hf:owner/name", status=3).stderr


@pytest.mark.parametrize("name", ["link", "link/inside"])
def test_symbolic_links_in_the_output_folder_are_not_followed(download, server, tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere" / ("file" if name == "link" else ""))
    server.add_mlcommons("flux-1-coco", "coco", {name: b"evil"})
    message = download("coco", "--output", "out", status=5).stderr
    assert "link" in message
    assert list((tmp_path / "elsewhere").iterdir()) == []


# TLS, proxies, terminals, arguments


def test_an_unknown_authority_is_refused(download, server, environment):
    add_big(server)
    message = download("coco", env={"CURL_CA_BUNDLE": "", "SSL_CERT_FILE": ""}, status=3).stderr
    assert "expected a certificate that a known authority has signed" in message
    assert server.requests == []
    download("coco", env={"CURL_CA_BUNDLE": "", "SSL_CERT_FILE": environment["CURL_CA_BUNDLE"]})


def test_a_certificate_for_another_host_is_refused(download, tmp_path):
    ca, pair = make_certificate(tmp_path / "other", names=["elsewhere.example"])
    other = Server(pair)
    try:
        env = {"MILLRACE_MLCOMMONS_ENDPOINT": other.url(), "CURL_CA_BUNDLE": ca}
        assert "expected a certificate" in download("coco", env=env, status=3).stderr
    finally:
        other.close()


def test_proxies_of_the_environment_are_used(download, server):
    """A proxy that tunnels to the test server, and one that is not there."""
    add_big(server)
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def pump(source, target):
            try:
                while data := source.recv(1 << 16):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        def serve():
            while True:
                try:
                    client, _ = proxy.accept()
                except OSError:
                    return
                asked.append(client.recv(4096).split(b"\r\n")[0].decode())
                upstream = socket.create_connection(("127.0.0.1", server.port))
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                threading.Thread(target=pump, args=(client, upstream), daemon=True).start()
                threading.Thread(target=pump, args=(upstream, client), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        download("coco", env={"https_proxy": f"http://127.0.0.1:{proxy.getsockname()[1]}", "no_proxy": "", "NO_PROXY": ""})
    assert asked and set(asked) == {f"CONNECT localhost:{server.port} HTTP/1.1"}
    message = download("coco", "--retries", 0, env={"https_proxy": "http://127.0.0.1:9", "no_proxy": "", "NO_PROXY": ""}, status=3)
    assert "expected a stable connection" in message.stderr


def test_progress_in_a_log_is_a_line_now_and_then(download, server):
    add_big(server, bytes_per_second=3_000_000)  # twenty pieces a second
    started = time.monotonic()
    lines = [line for line in download("coco", "--progress-every", "0.3").stderr.splitlines() if "ETA" in line]
    assert 2 <= len(lines) <= 1 + (time.monotonic() - started) / 0.3
    assert re.fullmatch(r"[\d.]+ \w+ of 2\.86 MiB \(\d+\.\d%\)  [\d.]+ \w+/s  ETA \d+:\d\d  \d of 2 files", lines[-1])


def test_progress_on_a_terminal_is_a_bar(start, server):
    add_big(server, bytes_per_second=3_000_000)
    terminal, other_end = pty.openpty()
    process = start("coco", stderr=other_end)
    os.close(other_end)
    text = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        text += piece
    process.wait(timeout=300)
    os.close(terminal)
    bars = re.findall(rb"\r\x1b\[2K(\[[#-]{6,24}\] [^\r\n]*)", text)
    assert len(bars) > 2 and all(len(bar) < 80 for bar in bars)
    assert b"files" in bars[0]


def test_several_files_come_at_once(download, server):
    """None of them is answered before all have been asked for."""
    all_asked_for = threading.Barrier(8, timeout=300)
    server.add_mlcommons("flux-1-coco", "coco", {f"{i}.tar": noise(1000, i) for i in range(8)})
    for i in range(8):
        server.resources[f"/coco/{i}.tar"].faults = [Fault(wait_for=all_asked_for.wait)]
    download("coco", "--jobs", 8)
    assert not all_asked_for.broken


def test_list_names_everything(download):
    text = download("--list").stdout
    names = "cc12m cc12m-disk cc12m-preprocessed coco coco-preprocessed empty-encodings val2014-captions encoders flux-schnell flux-dev"
    names += " flux-dev-lora-set llama-3.1-8b llama-3.1-8b-instruct llama-3.1-70b-instruct llama-3.1-405b-instruct llama-3.2-1b-instruct"
    names += " llama-3.2-3b-instruct llama-3.3-70b-instruct"
    for name in names.split():
        assert re.search(rf"^{name} +(about )?[\d.]+ [MGT]B", text, re.MULTILINE)
    assert text.count("licence: ") == len(names.split())


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], "expected a name"),
        (["cc12m-preprocesed"], "(try cc12m-preprocessed)"),
        (["llama-3.3-70b-instuct"], "(try llama-3.3-70b-instruct)"),
        (["yahma/alpaca-cleaned"], "(try hf:yahma/alpaca-cleaned, or dataset yahma/alpaca-cleaned)"),
        (["dataset", "alpaca-cleaned"], "[millrace download dataset] expected OWNER/NAME, got alpaca-cleaned"),
        (["hf:name"], "expected hf:OWNER/NAME"),
        (["hf:../../x"], "expected hf:OWNER/NAME"),
        (["hf:owner/name@../x"], "expected hf:OWNER/NAME"),
        (["https://localhost/x.tar"], "ends with .uri"),
        (["http://192.0.2.1/x.uri"], "expected an https URL"),
        (["coco", "--jobs", "0"], "--jobs"),
        (["coco", "--token", TOKEN], "--token"),
    ],
)
def test_wrong_arguments(download, arguments, expected):
    assert expected in download(*arguments, status=2).stderr


@pytest.mark.parametrize("variable, name", [("HF_ENDPOINT", "hf:owner/name"), ("MILLRACE_MLCOMMONS_ENDPOINT", "coco")])
def test_endpoints_are_encrypted(download, variable, name):
    for url in ("http://192.0.2.1", "http://127.0.0.1.example", "ftp://localhost", "nonsense"):
        assert f"[{variable}] expected an https URL" in download(name, env={variable: url, "HF_TOKEN": TOKEN}, status=2).stderr


def test_plain_http_to_this_machine_is_fine(download, tmp_path):
    plain = Server()
    try:
        plain.add_mlcommons("flux-1-coco", "coco", {"a.tar": b"a", "b.tar": b"b"})
        download("coco", env={"MILLRACE_MLCOMMONS_ENDPOINT": plain.url()})
        assert set(tree(tmp_path / "coco")) == {"a.tar", "b.tar"}
    finally:
        plain.close()
