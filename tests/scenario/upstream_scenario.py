"""Connections through proxies that are not ours: microsocks (SOCKS 5) and tinyproxy (CONNECT)."""
import contextlib
import os
import shutil
import socket
import subprocess

import pytest
import tool

needs_microsocks = pytest.mark.skipif(
    not shutil.which("microsocks"), reason="microsocks is not installed")
needs_tinyproxy = pytest.mark.skipif(
    not shutil.which("tinyproxy"), reason="tinyproxy is not installed")


@contextlib.contextmanager
def process(port, *command):
    running = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        tool.wait_until(lambda: running.poll() is not None or tool.listens(port),
                        "the proxy listens")
        assert running.poll() is None, "the proxy did not start"
        yield
    finally:
        running.kill()
        running.wait(tool.LIMIT)


@contextlib.contextmanager
def socks(*options):
    port = tool.free_port()
    with process(port, "microsocks", "-i", "127.0.0.1", "-p", port, *options):
        yield port


@contextlib.contextmanager
def http(folder, target, *lines):
    """One that connects to the target's port alone."""
    port = tool.free_port()
    config = folder / "tinyproxy.conf"
    config.write_text("\n".join([f"Port {port}", "Listen 127.0.0.1", "Allow 127.0.0.1",
                                 f"ConnectPort {target}", *lines, ""]), encoding="ascii")
    with process(port, "tinyproxy", "-d", "-c", config):
        yield port


def through(kind, target, url):
    return tool.run(tool.BIN / "example_upstream", target, url, capture_output=True, text=True,
                    env={**os.environ, "SALLY_PORT": kind})


def check_served(done):
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


def check_refused(done, sentence, code):
    assert done.returncode == 1
    assert done.stdout == ""
    assert "the connection could not be made" in done.stderr
    assert done.stderr.rstrip().endswith(f"{sentence} ({code})"), done.stderr


def hosts():
    """A bare machine may not know its own name, or know it by one family of addresses."""
    try:
        socket.getaddrinfo("localhost", None)
        return ["127.0.0.1", "localhost"]
    except OSError:
        return ["127.0.0.1"]


HOSTS = hosts()


def serve(kind):
    """On both families: a proxy takes the first address that it finds for a name."""
    return tool.Server("--port-kind", kind, "--shards", 1, listen=["*:0"])


REFUSED = "the proxy refused to connect; see its own code"
UNKNOWN = "the proxy wants a name and a password, or others"


@needs_microsocks
def test_microsocks_connects_to_addresses_and_names(kind):
    with serve(kind) as server, socks() as port:
        for target in [f"{host}:{server.port}" for host in HOSTS]:
            check_served(through(kind, target, f"socks5://127.0.0.1:{port}"))
        check_refused(through(kind, f"127.0.0.1:{tool.free_port()}", f"socks5://127.0.0.1:{port}"),
                      REFUSED, 5)
        server.stop()


@needs_microsocks
def test_microsocks_with_a_password(kind):
    with serve(kind) as server, socks("-u", "me", "-P", "pass word") as port:
        target = f"{HOSTS[-1]}:{server.port}"
        check_served(through(kind, target, f"socks5://me:pass%20word@127.0.0.1:{port}"))
        check_refused(through(kind, target, f"socks5://me:other@127.0.0.1:{port}"), UNKNOWN, 2)
        check_refused(through(kind, target, f"socks5://127.0.0.1:{port}"), UNKNOWN, 255)
        server.stop()


@needs_tinyproxy
def test_tinyproxy_connects_to_what_it_may(kind, tmp_path):
    with serve(kind) as server, http(tmp_path, server.port) as port:
        for target in [f"{host}:{server.port}" for host in HOSTS]:
            check_served(through(kind, target, f"http://127.0.0.1:{port}"))
        check_refused(through(kind, f"127.0.0.1:{tool.free_port()}", f"http://127.0.0.1:{port}"),
                      REFUSED, 403)
        server.stop()


@needs_tinyproxy
def test_tinyproxy_with_a_password(kind, tmp_path):
    with serve(kind) as server, http(tmp_path, server.port, "BasicAuth me secret") as port:
        target = f"127.0.0.1:{server.port}"
        check_served(through(kind, target, f"http://me:secret@127.0.0.1:{port}"))
        check_refused(through(kind, target, f"http://127.0.0.1:{port}"), UNKNOWN, 407)
        server.stop()


def test_a_url_that_is_none_is_wrong_usage():
    done = tool.run(tool.BIN / "example_upstream", "127.0.0.1:1", "socks6://127.0.0.1:1",
                    capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
