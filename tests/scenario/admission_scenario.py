"""Who may connect to `sallyport serve`: bans from a file, also read again; limits of an address.
The clients' addresses are those of 127.0.0.0/8."""
import re
import signal
import socket
import subprocess

import pytest
import tool


def dial_from(last, port):
    return socket.create_connection(("127.0.0.1", port), timeout=tool.LIMIT,
                                    source_address=(f"127.0.0.{last}", 0))


def dial_hard(last, port):
    """None when it was reset before the system could tell that it was connected."""
    try:
        return dial_from(last, port)
    except ConnectionResetError:
        return None


def is_served(last, port):
    try:
        with dial_from(last, port) as client:
            tool.echo(client)
            return True
    except (ConnectionResetError, BrokenPipeError):
        return False


def test_bans_are_read_again_at_a_signal(kind, tmp_path):
    bans = tmp_path / "bans"
    bans.write_text("# loud ones\n127.0.0.16/28 never too loud\n127.0.0.40 2020-01-01T00:00:00Z\n")
    with tool.Server("--port-kind", kind, "--bans", bans) as server:
        kept = dial_from(2, server.port)
        tool.echo(kept)
        assert not is_served(17, server.port)
        assert is_served(40, server.port)
        bans.write_text("127.0.0.2\n127.0.0.0/7\n")
        server.signal(signal.SIGHUP)
        assert re.search(r"line 2: .*behind.*stay", server.err.next())
        assert is_served(2, server.port) and not is_served(17, server.port)
        bans.write_text("127.0.0.2 1h\n")
        server.signal(signal.SIGHUP)
        assert server.err.next().endswith(": 1 bans\n")
        assert not is_served(2, server.port) and is_served(17, server.port)
        tool.echo(kept)
        bans.unlink()
        server.signal(signal.SIGHUP)
        assert "stay as they were" in server.err.next()
        assert not is_served(2, server.port)
        kept.close()


@pytest.mark.parametrize("text, why", [("127.0.0.1 127.0.0.2\n", "line 1: the expiry"),
                                       ("\n\nhost\n", "line 3: not an address"), (None, "")])
def test_a_wrong_file_is_no_start(tmp_path, text, why):
    bans = tmp_path / "bans"
    if text is not None:
        bans.write_text(text)
    done = tool.run(tool.TOOL, "serve", "--listen", "127.0.0.1:0", "--bans", bans,
                    capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"sallyport: {bans}") and why in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_bans_a_hang_up_ends_it_as_ever(kind):
    with tool.Server("--port-kind", kind) as server:
        server.signal(signal.SIGHUP)
        assert server.process.wait(tool.LIMIT) == -signal.SIGHUP


def test_silent_ones_of_one_address_leave_the_rest_alone(kind, shards):
    flood = 400 if tool.LONG else 100
    with tool.Server("--port-kind", kind, "--shards", shards, "--conns-per-address", 7,
                     "--max-conns", 40) as server:
        silent = [dial_hard(3, server.port) for _ in range(flood)]
        with tool.closing([client for client in silent if client]):
            for last in range(10, 30):
                assert is_served(last, server.port)
            assert not is_served(3, server.port)
        tool.wait_until(lambda: is_served(3, server.port), "its places are free again")
        assert server.stop()["accepted"] > flood + 20


def test_who_comes_too_fast_is_refused(kind):
    with tool.Server("--port-kind", kind, "--connect-rate", 5) as server:
        served = sum(is_served(4, server.port) for _ in range(40))
        assert 5 <= served < 40
        assert is_served(5, server.port)
        tool.wait_until(lambda: is_served(4, server.port), "its time comes again")


def test_the_farewell(kind):
    with tool.Server("--port-kind", kind, "--max-conns", 1, "--at-limit", "farewell") as server:
        with tool.dial(server.port) as first:
            tool.echo(first)
            with tool.dial(server.port) as second:
                second.sendall(b"hello\n")
                text = tool.receive(second, 1000)
            assert text.endswith(b"come back later\n")
            tool.echo(first)


def test_two_policies_in_one_process():
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ports.append(listener.getsockname()[1])
    process = subprocess.Popen([tool.BIN / "example_greeting", *(f"127.0.0.1:{p}" for p in ports)],
                               stderr=subprocess.PIPE, text=True)

    def hear(last, port):
        client = dial_from(last, port)
        text = client.makefile().readline()
        return client, text

    def is_up():
        try:
            dial_from(1, ports[1]).close()
            return True
        except ConnectionRefusedError:
            return False

    try:
        tool.wait_until(is_up, "it listens")
        greeted = [hear(9, ports[0]) for _ in range(5)]
        assert [text for _, text in greeted] == ["hello\n"] * 5
        tool.wait_until(lambda: hear(1, ports[1])[1].startswith("welcome"), "the first has left")
        first, text = hear(2, ports[1])
        while not text.startswith("welcome"):
            first, text = hear(2, ports[1])
        again, text = hear(2, ports[1])
        assert text == "full\n"
        process.send_signal(signal.SIGINT)
        for client, _ in greeted:
            client.close()
        first.close()
        again.close()
        assert process.wait(tool.LIMIT) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
