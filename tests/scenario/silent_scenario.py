"""Clients that say nothing keep out nobody who speaks, and are cut although nobody new comes (S3-7,
S3-10, S3-12). How long the first good one waited behind them is printed and not judged: a busy
machine may take any time."""
import contextlib
import resource
import time

import pytest
import tool

SILENT = 5_000 if tool.LONG else 300
GOOD = 100
FIRST_BYTE = {"iocp": "30s" if tool.LONG else "5s"}


def options(kind, shards):
    return ["--port-kind", kind, "--shards", shards]


def first_byte(kind):
    return FIRST_BYTE.get(kind, "10s" if tool.LONG else "1s")


@contextlib.contextmanager
def many_descriptors(count):
    """For the clients' side and the server's, which inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 1000:
        pytest.skip(f"the hard descriptor limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def serve_good(port):
    """How long each of the good clients took, in seconds."""
    took = []
    for _ in range(GOOD):
        began = time.monotonic()
        with tool.dial(port) as client:
            tool.echo(client)
        took.append(time.monotonic() - began)
    return took


def all_are_cut(clients):
    for client in clients:
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass


def good_behind_silent(port):
    with tool.closing([tool.dial(port) for _ in range(SILENT)]) as silent:
        took = serve_good(port)
        all_are_cut(silent)
    print(f"{SILENT} silent; the first good one took {took[0]:.3f} s, the slowest other "
          f"{max(took[1:]):.3f} s")


def test_silent_clients_keep_nobody_waiting(kind, shards):
    with many_descriptors(SILENT), tool.Server(
            *options(kind, shards), "--first-byte-timeout", first_byte(kind)) as server:
        good_behind_silent(server.port)
        assert server.stop()["accepted"] == SILENT + GOOD


def test_silent_clients_are_no_connections(kind, shards):
    """Where an accept waits for first bytes each silent client takes one on Windows; they are no
    connections, and good ones come past them."""
    with many_descriptors(SILENT), tool.Server(
            *options(kind, shards), "--accept-data-timeout", first_byte(kind),
            "--accept-with-data", "127.0.0.1:0", listen=()) as server:
        good_behind_silent(int(server.start["listening_for_data"][0].rsplit(":", 1)[1]))
        assert server.stop()["accepted"] == GOOD
