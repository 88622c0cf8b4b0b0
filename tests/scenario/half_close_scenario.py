"""Clients that others wrote send 50 MB, end their side, and read all of it back, byte for byte."""
import hashlib
import random
import shutil
import socket

import pytest
import tool

BYTES = 50_000_000


@pytest.fixture(scope="module")
def payload(tmp_path_factory):
    path = tmp_path_factory.mktemp("payload") / "in"
    path.write_bytes(random.Random(5002).randbytes(BYTES))
    return path


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.parametrize("client", ["ncat", "socat"])
def test_all_bytes_come_back_after_half_close(client, kind, shards, payload, tmp_path):
    if not shutil.which(client):
        pytest.skip(f"{client} is not installed")
    with tool.Server("--port-kind", kind, "--shards", shards) as server:
        command = {"ncat": ["ncat", "127.0.0.1", server.port],
                   "socat": ["socat", "-t", "60", "-", f"TCP:127.0.0.1:{server.port}"]}[client]
        out = tmp_path / "out"
        with open(payload, "rb") as stdin, open(out, "wb") as stdout:
            done = tool.run(*command, stdin=stdin, stdout=stdout)
        assert done.returncode == 0
        assert out.stat().st_size == BYTES
        assert digest(out) == digest(payload)
        report = server.stop()
    out.unlink()
    assert report["bytes_in"] == report["bytes_out"] == BYTES
    assert report["bytes_unsent"] == 0


def test_bytes_after_the_peers_end_are_those_before_it(server):
    """A slow reader: nothing is read until everything is written, and 20 clients at a time."""
    data = random.Random(1).randbytes(100_000)
    with tool.closing([tool.dial(server.port) for _ in range(20)]) as clients:
        for client in clients:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        for client in clients:
            assert tool.receive(client, len(data) + 1) == data
