"""How serving ends: drain with a report, a second signal, peers that don't finish, statistics."""
import json
import os
import signal
import socket

import pytest
import tool


def test_sigterm_lets_connections_finish(server):
    with tool.closing([tool.dial(server.port) for _ in range(50)]) as clients:
        for client in clients:
            tool.echo(client, b"x" * 1000)
        server.signal(signal.SIGTERM)
        for client in clients:
            assert client.recv(1) == b"", "the server's end of the stream comes first"
            client.close()
        report = server.wait()
    assert (report["conns"], report["finished"], report["cut"]) == (50, 50, 0)
    assert report["bytes_in"] == report["bytes_out"] == 50_000
    assert report["bytes_unsent"] == 0
    assert report["accepted"] == 50


def test_drain_first_sends_what_is_queued(kind):
    """Bytes wait for a slow reader when the signal comes: it gets all of them, then the end."""
    data = bytes(range(256)) * 4096
    with tool.Server("--port-kind", kind, "--drain", "60s") as server:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(tool.LIMIT)
        client.connect(("127.0.0.1", server.port))
        tool.echo(client, b"x")  # it is the server's now, not the backlog's
        client.settimeout(0.5)
        sent = 0
        try:
            while sent < len(data):
                sent += client.send(data[sent:])
        except TimeoutError:
            pass
        client.settimeout(tool.LIMIT)
        server.signal(signal.SIGTERM)
        got = b""
        while True:
            part = client.recv(65536)
            if not part:
                break
            got += part
        # What the server had not yet read when it stopped reading is not echoed.
        assert got == data[:len(got)]
        client.close()
        report = server.wait()
    assert report["cut"] == 0 and report["bytes_unsent"] == 0
    assert report["bytes_out"] == len(got) + 1


def test_no_newcomer_is_served_during_the_drain(kind, shards):
    with tool.Server("--port-kind", kind, "--shards", shards, "--drain", "60s") as server:
        with tool.dial(server.port) as client:
            tool.echo(client)
            server.signal(signal.SIGINT)
            assert client.recv(1) == b""
            try:
                with tool.dial(server.port) as newcomer:
                    newcomer.sendall(b"x")
                    assert newcomer.recv(1) == b""
            except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
                pass
        report = server.wait()
    assert (report["conns"], report["cut"]) == (1, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_can_not_end_it(server):
    """Who may end it from another program is who may send it a signal (kill(2))."""
    kill = ("sh", "-c", f"kill -TERM {server.process.pid}")
    done = tool.run(*kill, user=65534, capture_output=True, text=True, env={"LC_ALL": "C"})
    assert done.returncode != 0 and "not permitted" in done.stderr
    with tool.dial(server.port) as client:
        tool.echo(client)
    assert tool.run(*kill).returncode == 0
    assert server.wait()["cut"] == 0


def test_a_second_signal_cuts(kind, shards):
    with tool.Server("--port-kind", kind, "--shards", shards, "--drain", "1h", "--linger-timeout",
                     "never") as server:
        with tool.closing([tool.dial(server.port) for _ in range(10)]) as clients:
            for client in clients:
                tool.echo(client)
            server.signal(signal.SIGINT)
            for client in clients:
                assert client.recv(1) == b""
            server.signal(signal.SIGINT)
            report = server.wait()
    assert (report["conns"], report["finished"], report["cut"]) == (10, 0, 10)


def test_the_drains_time_cuts(kind, shards):
    with tool.Server("--port-kind", kind, "--shards", shards, "--drain", "300ms",
                     "--linger-timeout", "never") as server:
        with tool.closing([tool.dial(server.port) for _ in range(10)]) as clients:
            for client in clients:
                tool.echo(client)
            server.signal(signal.SIGTERM)
            report = server.wait()
    assert (report["conns"], report["cut"]) == (10, 10)


def test_stop_without_connections(server):
    report = server.stop()
    assert (report["conns"], report["accepted"], report["bytes_in"]) == (0, 0, 0)


def test_stop_under_traffic(kind, shards):
    """Clients that never stop sending: their bytes are dropped, nothing hangs."""
    with tool.Server("--port-kind", kind, "--shards", shards, "--drain", "500ms") as server:
        with tool.closing([tool.dial(server.port) for _ in range(20)]) as clients:
            for client in clients:
                tool.echo(client)  # all are accepted
                client.setblocking(False)
            for turn in range(200):
                for client in clients:
                    try:
                        client.send(b"y" * 65536)
                    except BlockingIOError:
                        pass
                    except OSError:
                        assert turn > 100
                if turn == 100:
                    server.signal(signal.SIGTERM)
            report = server.wait()
    assert report["conns"] == 20


def test_the_port_is_free_afterwards(kind):
    with tool.Server("--port-kind", kind) as first:
        with tool.dial(first.port) as client:
            tool.echo(client)
            first.signal()
            assert client.recv(1) == b""
        first.wait()
    with tool.Server("--port-kind", kind, listen=[f"127.0.0.1:{first.port}"]) as second:
        assert second.port == first.port


def test_time_limits_close(kind):
    """One limit each; the peer does nothing that would end it otherwise."""
    with tool.Server("--port-kind", kind, "--first-byte-timeout", "200ms", "--idle-timeout",
                     "500ms", "--linger-timeout", "200ms") as server:
        with tool.dial(server.port) as silent, tool.dial(server.port) as idle:
            tool.echo(idle)
            for client in (silent, idle):
                try:
                    assert client.recv(1) == b""
                except ConnectionResetError:
                    pass


def test_statistics_lines(kind):
    with tool.Server("--port-kind", kind, "--stats", 1) as server:
        with tool.dial(server.port) as client:
            tool.echo(client, b"12345")
            for _ in range(5):
                line = json.loads(server.out.next())
                assert line["event"] == "stats"
                if line["bytes_out"] == 5:
                    break
            assert (line["conns"], line["accepted"], line["bytes_in"]) == (1, 1, 5)
            assert line["memory_bytes"] > 0
        server.stop()
