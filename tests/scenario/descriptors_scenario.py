"""With the descriptor limit at 200, 400 clients come. Those there is no room for wait, at no cost,
and are served by themselves when others leave."""
import selectors
import socket
import time

import tool

LIMIT, CLIENTS, LEAVE = 200, 400, 300


def connect_all(port, count):
    """Connections that the system has made; whether the server knows of them is its matter."""
    clients = []
    for number in range(count):
        client = tool.dial(port)
        client.sendall(b"%08d" % number)
        client.setblocking(False)
        clients.append(client)
    return clients


def served(clients, seconds):
    """Those of the clients whose bytes came back within the time. A reset is a failure."""
    got = set()
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        end = time.monotonic() + seconds
        while len(got) < len(clients) and time.monotonic() < end:
            for key, _ in selector.select(0.1):
                data = key.fileobj.recv(8)
                assert len(data) == 8, "closed without an answer"
                got.add(key.fileobj)
                selector.unregister(key.fileobj)
    return got


def test_the_rest_is_served_when_others_leave(kind, shards):
    with tool.Server("--port-kind", kind, "--shards", shards, "--first-byte-timeout", "never",
                     "--idle-timeout", "never", "--stats", 1, descriptors=LIMIT) as server:
        limit = server.start["conns_max"]
        assert 100 <= limit < LIMIT, server.start
        with tool.closing(connect_all(server.port, CLIENTS)) as clients:
            first = set()
            tool.wait_until(lambda: first.update(served(clients_left(clients, first), 0.2))
                            or len(first) >= limit, "the first are served up to the limit")
            assert len(first) == limit, f"{len(first)} were served, the limit is {limit}"

            before = server.cpu_ticks()
            time.sleep(2)
            busy = server.cpu_ticks() - before
            print(f"ticks of the CPU in 2 s while full: {busy} of 200 on each core")
            assert busy < 20, "the server turns while it is full"

            leaving = list(first)[:limit - 1] + clients_left(clients, first)
            for client in leaving[:LEAVE]:
                client.close()
            rest = [client for client in clients_left(clients, first) if client.fileno() >= 0]
            began = time.monotonic()
            assert len(served(rest, tool.LIMIT)) == len(rest)
            print(f"{len(rest)} waiting clients served in {time.monotonic() - began:.3f} s")
            assert len(rest) + len([c for c in first if c.fileno() >= 0]) == CLIENTS - LEAVE
            with tool.dial(server.port) as newcomer:
                tool.echo(newcomer)
        report = server.stop()
    assert report["bytes_in"] == report["bytes_out"]


def clients_left(clients, gone):
    return [client for client in clients if client not in gone]


def test_the_system_runs_out_before_our_own_limit(kind, shards):
    """--max-conns above what there are descriptors for: accepting meets EMFILE, pauses, and goes on
    by itself."""
    try:
        server = tool.Server("--port-kind", kind, "--shards", shards, "--max-conns", 1000,
                             "--first-byte-timeout", "never", descriptors=LIMIT)
    except AssertionError as refused:
        assert "descriptor limit" in str(refused)  # judged at the start: as good
        return
    with server:
        with tool.closing(connect_all(server.port, CLIENTS)) as clients:
            first = served(clients, 2)
            assert first
            before = server.cpu_ticks()
            time.sleep(2)
            busy = server.cpu_ticks() - before
            print(f"{len(first)} served; ticks of the CPU in 2 s while full: {busy}")
            assert busy < 20, "the server turns while it is full"
            for client in first:
                client.close()
            left = clients_left(clients, first)
            while left:
                now = served(left[:100], tool.LIMIT)
                assert len(now) == len(left[:100])
                for client in now:
                    client.close()
                left = clients_left(left, now)


def test_reset_at_the_limit_is_a_reset(kind):
    with tool.Server("--port-kind", kind, "--max-conns", 10, "--at-limit", "reset") as server:
        assert server.start["conns_max"] == 10
        with tool.closing([tool.dial(server.port) for _ in range(10)]) as clients:
            for client in clients:
                tool.echo(client)
            try:
                with tool.dial(server.port) as refused:
                    refused.sendall(b"x")
                    assert refused.recv(1) == b"", "served above the limit"
            except (ConnectionResetError, BrokenPipeError):
                pass
            tool.finish(clients.pop())

            def served_again():
                try:
                    with tool.dial(server.port) as client:
                        tool.echo(client)
                    return True
                except (ConnectionResetError, BrokenPipeError, AssertionError):
                    return False

            tool.wait_until(served_again, "a newcomer is served when one has left")


def test_wait_at_the_limit_waits(kind):
    with tool.Server("--port-kind", kind, "--max-conns", 10) as server:
        with tool.closing(connect_all(server.port, 30)) as clients:
            left = list(clients)
            end = time.monotonic() + tool.LIMIT
            while left:
                assert time.monotonic() < end, f"{len(left)} are still waiting"
                now = served(left, 0.3)
                assert len(now) <= 10
                for client in now:
                    client.setblocking(True)
                    client.settimeout(tool.LIMIT)
                    client.shutdown(socket.SHUT_WR)
                left = clients_left(left, now)
