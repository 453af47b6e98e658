"""Servers of our own, and the program pointed at them."""

import os
import subprocess

import pytest
from download_server import Server, make_certificate


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def server(certificate):
    server = Server(certificate[1])
    yield server
    server.close()


@pytest.fixture
def cdn(certificate):
    server = Server(certificate[1])
    yield server
    server.close()


@pytest.fixture
def environment(server, certificate, tmp_path):
    """What points the program at the test server, and at nothing of this machine's user."""
    return {
        "CURL_CA_BUNDLE": certificate[0],
        "HF_ENDPOINT": server.url(),
        "MILLRACE_MLCOMMONS_ENDPOINT": server.url(),
        "HF_HOME": tmp_path / "hf-home",
        "HF_TOKEN": "",
        "HUGGING_FACE_HUB_TOKEN": "",
        "HF_TOKEN_PATH": "",
        "no_proxy": "localhost,127.0.0.1",
    }


@pytest.fixture
def download(millrace, environment):
    def run(*arguments, status=0, env=None, **options):
        return millrace("download", *arguments, status=status, env=environment | (env or {}), timeout=300, **options)

    return run


@pytest.fixture
def start(program, environment, tmp_path):
    """The program in the background; ended with the test."""
    running = []

    def run(*arguments, env=None, **options):
        command = [str(program), "download", *map(str, arguments)]
        variables = os.environ | {key: str(value) for key, value in (environment | (env or {})).items()}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        process = subprocess.Popen(command, cwd=tmp_path, env=variables, **pipes)
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.wait()
