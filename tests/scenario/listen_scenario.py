"""Where it listens, and what it says of it."""
import os
import re
import signal
import socket
import subprocess

import pytest
import tool


needs_ipv6 = pytest.mark.skipif(not tool.has_ipv6(), reason="this machine has no IPv6")


def dial_unix(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(tool.LIMIT)
    client.connect(path)
    return client


def test_port_0_is_reported(server):
    assert re.fullmatch(r"127\.0\.0\.1:\d+", server.start["listening"][0])
    assert server.port > 0
    with tool.dial(server.port) as client:
        tool.echo(client)


def test_unix_socket(kind, shards, tmp_path):
    path = str(tmp_path / "socket")
    with tool.Server("--port-kind", kind, "--shards", shards, listen=[f"unix:{path}"]) as server:
        assert server.start["listening"] == [f"unix:{path}"]
        assert os.stat(path).st_mode & 0o777 == 0o600
        for _ in range(10):
            with dial_unix(path) as client:
                tool.echo(client, b"x" * 100_000)
                tool.finish(client)
        server.stop()
    assert not os.path.exists(path)


def test_unix_socket_without_a_file(kind):
    name = f"sallyport-test-{os.getpid()}"
    with tool.Server("--port-kind", kind, listen=[f"unix:@{name}"]) as server:
        assert server.start["listening"] == [f"unix:@{name}"]
        with dial_unix("\0" + name) as client:
            tool.echo(client)


def test_a_unix_socket_left_by_a_killed_server_is_taken_over(kind, tmp_path):
    path = str(tmp_path / "socket")
    with tool.Server("--port-kind", kind, listen=[f"unix:{path}"]) as server:
        server.signal(signal.SIGKILL)
        server.process.wait(tool.LIMIT)
    assert os.path.exists(path)

    # The system takes a ring down after the process has gone, and only then its sockets.
    def gone():
        try:
            dial_unix(path).close()
            return False
        except ConnectionRefusedError:
            return True

    tool.wait_until(gone, "the killed server's socket is gone")
    with tool.Server("--port-kind", kind, listen=[f"unix:{path}"]):
        with dial_unix(path) as client:
            tool.echo(client)


def test_a_file_that_is_no_socket_is_kept(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(AssertionError, match="SALLY_EADDRINUSE"):
        tool.Server(listen=[f"unix:{path}"])
    assert path.read_text() == "mine"


def test_several_addresses(kind, shards, tmp_path):
    path = str(tmp_path / "socket")
    addresses = ["127.0.0.1:0", "127.0.0.2:0", f"unix:{path}", "127.0.0.1:0"]
    with tool.Server("--port-kind", kind, "--shards", shards, listen=addresses) as server:
        listening = server.start["listening"]
        assert len(listening) == 4 and len(set(listening)) == 4
        for address in listening:
            if address.startswith("unix:"):
                client = dial_unix(path)
            else:
                host, port = address.rsplit(":", 1)
                client = tool.dial(int(port), host)
            with client:
                tool.echo(client)
                tool.finish(client)
        report = server.stop()
    assert report["accepted"] == 4


@needs_ipv6
def test_all_addresses_of_both_families(kind):
    with tool.Server("--port-kind", kind, listen=["*:0"]) as server:
        for host in ("127.0.0.1", "::1"):
            with tool.dial(server.port, host) as client:
                tool.echo(client)


@needs_ipv6
def test_ipv6(kind):
    with tool.Server("--port-kind", kind, listen=["[::1]:0"]) as server:
        assert server.start["listening"][0].startswith("[::1]:")
        with tool.dial(server.port, "::1") as client:
            tool.echo(client)


def test_a_name(kind):
    with tool.Server("--port-kind", kind, listen=["localhost:0"]) as server:
        for address in server.start["listening"]:
            host, port = address.rsplit(":", 1)
            with tool.dial(int(port), host.strip("[]")) as client:
                tool.echo(client)


def test_a_socket_handed_over(kind, shards):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        port = listener.getsockname()[1]
        with tool.Server("--port-kind", kind, "--shards", shards, listen=[f"fd:{number}"],
                         pass_fds=[number]) as server:
            assert server.port == port
            with tool.dial(port) as client:
                tool.echo(client)


def test_the_plain_report(kind):
    process = subprocess.Popen(
        [tool.TOOL, "serve", "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--port-kind",
         kind, "--shards", "2", "--max-conns", "100"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    try:
        lines = tool.Lines(process.stdout)
        head = [lines.next() for _ in range(6)]
        process.send_signal(signal.SIGINT)
        assert process.wait(tool.LIMIT) == 0
    finally:
        process.kill()
    assert re.match(r"sallyport \d+\.\d+\.\d+, echo", head[0])
    assert re.match(r"listening on 127\.0\.0\.1:\d+$", head[1])
    assert re.match(r"listening on 127\.0\.0\.1:\d+$", head[2])
    assert re.match(rf"port kind: {kind} \(.+\)$", head[3])
    assert head[4] == "shards: 2\n"
    assert head[5] == "connections: at most 100 (from --max-conns)\n"
    assert re.search(r"^stopped in \d+ ms: 0 connections were open, 0 finished, 0 were cut",
                     lines.text(), re.MULTILINE)
    assert process.stderr.read() == ""


def test_quiet_says_nothing(kind):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    process = subprocess.Popen([tool.TOOL, "serve", "--quiet", "--listen", f"127.0.0.1:{port}",
                                "--port-kind", kind], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    try:
        def answers():
            try:
                with tool.dial(port) as client:
                    tool.echo(client)
                return True
            except ConnectionRefusedError:
                return False

        tool.wait_until(answers, "it serves")
        process.send_signal(signal.SIGTERM)
        assert process.wait(tool.LIMIT) == 0
        assert process.stdout.read() == ""
    finally:
        process.kill()


def test_the_connection_limit_comes_from_the_descriptor_limit(kind):
    with tool.Server("--port-kind", kind, descriptors=1000) as server:
        assert 800 < server.start["conns_max"] < 1000
        assert "1000" in server.start["conns_max_from"]
