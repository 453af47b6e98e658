"""A file server that misbehaves on request: HTTPS with its own CA, Hugging Face's and MLCommons' layouts.

What a path answers is a `Resource`; its `faults` are used up one by one, one per request, before it behaves.
"""

import hashlib
import http.server
import json
import random
import re
import ssl
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field

TOKEN = "hf_test0123456789SECRET"
STATE = ".millrace-download"  # the folder inside the output folder


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


# The files of FLUX.1's repositories, small.
FLUX_REPOSITORY = {
    "ae.safetensors": noise(3000, 1),
    "flux1-schnell.safetensors": noise(4000, 2),
    "README.md": b"#",
    "text_encoder/config.json": b'{"model_type": "clip_text_model"}',
    "text_encoder/model.safetensors": noise(2000, 3),
    "text_encoder_2/config.json": b'{"model_type": "t5"}',
    "text_encoder_2/model-00001-of-00002.safetensors": noise(2000, 4),
    "text_encoder_2/model-00002-of-00002.safetensors": noise(1000, 5),
    "text_encoder_2/model.safetensors.index.json": b"{}",
    "tokenizer/merges.txt": b"#version: 0.2\n",
    "tokenizer/vocab.json": b"{}",
    "tokenizer_2/spiece.model": noise(700, 6),
    "tokenizer_2/tokenizer.json": b"{}",
    "transformer/diffusion_pytorch_model-00001-of-00003.safetensors": noise(9000, 7),
    "vae/diffusion_pytorch_model.safetensors": noise(9000, 8),
}


BIG = noise(3_000_000, 42)


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Fault:
    """How one answer goes wrong."""

    status: int = 0  # instead of 200 or 206
    headers: dict | Callable[[], dict] = field(default_factory=dict)  # a function: those of the moment of the answer
    wait_for: Callable[[], object] | None = None  # called before the answer, in the connection's own thread
    break_after: int = -1  # close the connection after so many bytes of the body
    stall_after: int = -1  # send so many bytes of the body and then nothing
    silent: bool = False  # take the request and answer nothing
    ignore_range: bool = False  # 200 with everything
    declare: int = 0  # add so much to Content-Length
    etag: str | None = None
    content: bytes | None = None  # serve this, now and from now on


@dataclass
class Resource:
    content: bytes = b""
    etag: str = ""  # "" : none
    faults: list = field(default_factory=list)
    always: Fault | None = None
    redirect: str = ""
    headers: dict = field(default_factory=dict)
    bytes_per_second: int = 0
    needs_token: str = ""


@dataclass
class Request:
    method: str
    path: str
    host: str
    headers: dict
    received_at: float  # time.monotonic()
    answered_at: float = 0  # when the head was sent
    sent: int = 0  # bytes of the body that were sent


class Server:
    """Serves `resources` (path -> Resource) on 127.0.0.1, over TLS when `certificate` is given."""

    def __init__(self, certificate=None):
        self.resources: dict[str, Resource] = {}
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        server = self
        handler = type("Handler", (_Handler,), {"server_state": server})
        self.httpd = _HTTPServer(("127.0.0.1", 0), handler)
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.httpd.context = context
            self.scheme = "https"
        self.port = self.httpd.server_address[1]
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def url(self, path="", host="localhost"):
        return f"{self.scheme}://{host}:{self.port}{path}"

    def close(self):
        self.stopping.set()
        self.httpd.shutdown()
        self.httpd.server_close()

    def add(self, path, content=b"", **options):
        if isinstance(content, str):
            content = content.encode()
        self.resources[path] = Resource(content, **options)
        return self.resources[path]

    def served(self, path):
        """Bytes of the body of `path` that have been sent so far."""
        with self.lock:
            return sum(r.sent for r in self.requests if r.path == path and r.method == "GET")

    def of(self, path, method="GET"):
        with self.lock:
            return [r for r in self.requests if r.path == path and r.method == method]

    def forget(self):
        with self.lock:
            self.requests.clear()

    # Layouts

    def add_mlcommons(self, name, folder, files, **options):
        """NAME.uri, NAME.md5 and the files; options go to each file's Resource."""
        self.add(f"/metadata/{name}.uri", self.url(f"/{folder}") + "\n")
        lines = [f"{hashlib.md5(content).hexdigest()}  {path}\n" for path, content in files.items()]
        self.add(f"/metadata/{name}.md5", "".join(lines))
        for path, content in files.items():
            etag = f'"{hashlib.md5(content).hexdigest()}"'
            self.add(f"/{folder}/{urllib.parse.quote(path)}", content, **({"etag": etag} | options))

    def add_repository(self, repository, files, large=(".safetensors", ".tar", ".model"), page_size=1000, commit="c" * 40,
                       revision="main", cdn=None, **options):  # fmt: skip
        """A model, or with "datasets/" in front a data set. cdn: another Server that holds the large files."""
        is_dataset = repository.startswith("datasets/")
        api = f"/api/{repository}" if is_dataset else f"/api/models/{repository}"
        self.add(f"{api}/revision/{revision}", json.dumps({"sha": commit, "id": repository}))
        entries = []
        for folder in sorted({path.rsplit("/", 1)[0] for path in files if "/" in path}):
            entries.append({"type": "directory", "oid": "d" * 40, "size": 0, "path": folder})
        for path, content in files.items():
            entry = {"type": "file", "oid": git_sha1(content), "size": len(content), "path": path}
            target = f"/{repository}/resolve/{commit}/{urllib.parse.quote(path)}"
            if path.endswith(large):
                sha = hashlib.sha256(content).hexdigest()
                entry["oid"] = git_sha1(b"version https://git-lfs.github.com/spec/v1 " + sha.encode())
                entry["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 134}
                if cdn:
                    cdn.add(f"/blobs/{sha}", content, etag=f'"{sha[:16]}"', **options)
                    headers = {"X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(len(content)), "X-Repo-Commit": commit}
                    link = cdn.url(f"/blobs/{sha}?X-Signature=topsecret", host="127.0.0.1")
                    self.add(target, redirect=link, headers=headers)
                else:
                    self.add(target, content, etag=f'"{sha}"', **options)
            else:
                self.add(target, content, etag=f'"{entry["oid"]}"')
            entries.append(entry)
        tree = f"{api}/tree/{commit}?recursive=true"
        pages = [entries[i : i + page_size] for i in range(0, len(entries), page_size)] or [[]]
        for number, page in enumerate(pages):
            path = tree if number == 0 else f"{tree}&cursor=page{number}"
            resource = self.add(path, json.dumps(page))
            if number + 1 < len(pages):
                resource.headers["Link"] = f'<{self.url(f"{tree}&cursor=page{number + 1}")}>; rel="next"'


class _HTTPServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    context = None

    def get_request(self):
        connection, address = super().get_request()
        connection.settimeout(60)
        return connection, address

    def finish_request(self, request, client_address):
        if self.context:  # the handshake in the connection's own thread
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except (ssl.SSLError, OSError):
                return
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        pass  # clients may leave when they like


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: Server

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        state = self.server_state
        request = Request(self.command, self.path, self.headers.get("Host", ""), dict(self.headers.items()), time.monotonic())
        with state.lock:
            state.requests.append(request)
            resource = state.resources.get(self.path) or state.resources.get(self.path.split("?")[0])
            fault = Fault()
            if resource:
                fault = resource.always or (resource.faults.pop(0) if resource.faults and self.command == "GET" else fault)
            if fault.content is not None:
                resource.content = fault.content
            if fault.etag is not None:
                resource.etag = fault.etag
        if fault.wait_for:
            fault.wait_for()
        if fault.silent:
            state.stopping.wait()
            self.close_connection = True
            return
        headers = fault.headers() if callable(fault.headers) else fault.headers
        request.answered_at = time.monotonic()
        if resource is None:
            return self.plain(404, {"X-Error-Code": "EntryNotFound"})
        if resource.needs_token and self.headers.get("Authorization") != f"Bearer {resource.needs_token}":
            return self.plain(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this is restricted"})
        if fault.status:
            return self.plain(fault.status, headers)
        if resource.redirect:
            return self.plain(302, resource.headers | {"Location": resource.redirect})
        self.content(request, resource, fault, headers)

    def plain(self, status, headers):
        body = f"status {status}".encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def content(self, request, resource, fault, headers):
        content, first = resource.content, 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        partial = wanted and not fault.ignore_range and (condition is None or condition == resource.etag)
        if partial:
            first = int(wanted[1])
            if first >= len(content):
                return self.plain(416, {"Content-Range": f"bytes */{len(content)}"})
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if resource.etag:
            self.send_header("ETag", resource.etag)
        for name, value in (resource.headers | headers).items():
            self.send_header(name, value)
        body = content[first:]
        self.send_header("Content-Length", str(len(body) + fault.declare))
        self.end_headers()
        if self.command == "HEAD":
            return
        limit = min(n for n in (fault.break_after, fault.stall_after, len(body)) if n >= 0)
        step = max(1, resource.bytes_per_second // 20) if resource.bytes_per_second else 1 << 16
        for begin in range(0, limit, step):
            piece = body[begin : min(begin + step, limit)]
            self.wfile.write(piece)
            with self.server_state.lock:
                request.sent += len(piece)
            if resource.bytes_per_second and self.server_state.stopping.wait(len(piece) / resource.bytes_per_second):
                break
        if fault.stall_after >= 0:
            self.server_state.stopping.wait()
        if limit < len(body) or fault.declare > 0:
            self.close_connection = True


def make_certificate(folder, names=("localhost",)):
    """A CA and a certificate of it for `names` and 127.0.0.1: (CA file, (certificate file, key file))."""
    folder.mkdir(parents=True, exist_ok=True)

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=300)

    ca, ca_key, key, request, certificate = (folder / n for n in ("ca.pem", "ca.key", "key.pem", "req.pem", "cert.pem"))
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-keyout", ca_key, "-out", ca, "-days", 2, "-subj", "/CN=test CA")
    openssl("req", *curve, "-keyout", key, "-out", request, "-subj", "/CN=localhost")
    alternatives = ",".join([f"DNS:{name}" for name in names] + ["IP:127.0.0.1"])
    extensions = folder / "extensions"
    extensions.write_text(f"subjectAltName={alternatives}\n")
    openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", 2, "-out", certificate,
            "-extfile", extensions)  # fmt: skip
    return ca, (certificate, key)


def wait_until(condition, what, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"expected {what} within {seconds} s"
        time.sleep(0.02)


def tree(folder):
    """path -> content of what a user sees: without the state folder."""
    files = (p for p in folder.rglob("*") if p.is_file() and STATE not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def parts(folder):
    return sorted((folder / STATE).glob("*.part"))


def wait_for_part(folder, size):
    """Until only one file is unfinished and that much of it is on the disk. (Data that the server has sent may still be in transit.)"""

    def is_there():
        unfinished = parts(folder)
        try:
            return len(unfinished) == 1 and unfinished[0].stat().st_size >= size
        except FileNotFoundError:  # finished in between
            return False

    wait_until(is_there, f"{size:,} bytes of one unfinished file")


def add_big(server, **options):
    server.add_mlcommons("flux-1-coco", "coco", {"shard_00000.tar": BIG, "shard_00001.tar": b"small"}, **options)
    return server.resources["/coco/shard_00000.tar"]


def assert_big(tmp_path):
    assert tree(tmp_path / "coco") == {"shard_00000.tar": BIG, "shard_00001.tar": b"small"}
    assert parts(tmp_path / "coco") == []
