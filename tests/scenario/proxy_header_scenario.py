"""`sallyport serve` behind proxies: headers of our own, and a real HAProxy where there is one
(apt-get install haproxy). Clients have addresses of 127.0.0.0/8; HAProxy's is 127.0.0.1."""
import shutil
import signal
import socket
import subprocess

import pytest
import tool

HAPROXY = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
BANNED, GOOD = "127.0.0.17", "127.0.0.18"
needs_haproxy = pytest.mark.skipif(not HAPROXY, reason="haproxy is not installed")


def dial_from(address, port):
    return socket.create_connection(("127.0.0.1", port), timeout=tool.LIMIT,
                                    source_address=(address, 0))


def is_served(address, port, header=b""):
    try:
        with dial_from(address, port) as client:
            if header:
                client.sendall(header)
            client.sendall(b"hello\n")
            return tool.receive(client, 6) == b"hello\n"
    except (ConnectionResetError, BrokenPipeError):
        return False


def test_the_header_says_who_is_banned(kind, tmp_path):
    bans = tmp_path / "bans"
    bans.write_text("203.0.113.7\n127.0.0.5\n")
    with tool.Server("--port-kind", kind, "--bans", bans, "--proxy-from",
                     "127.0.0.5,127.0.0.8/29") as server:
        def client(n):
            return b"PROXY TCP4 203.0.113.%d 198.51.100.1 4711 443\r\n" % n

        assert is_served("127.0.0.5", server.port, client(8))
        assert is_served("127.0.0.9", server.port, client(8))
        assert not is_served("127.0.0.5", server.port, client(7))
        assert not is_served("127.0.0.9", server.port, client(7))
        assert not is_served("127.0.0.5", server.port)
        assert not is_served("127.0.0.6", server.port, client(8))
        assert not is_served("127.0.0.6", server.port)


@pytest.mark.parametrize("networks", ["", "here", "10.0.0.1/8", "127.0.0.1,,x"])
def test_wrong_networks_are_no_start(networks):
    done = tool.run(tool.TOOL, "serve", "--listen", "127.0.0.1:0", "--proxy-from", networks,
                    capture_output=True, text=True)
    assert done.returncode in (1, 2)
    assert "--proxy-from" in done.stderr and len(done.stderr.splitlines()) == 1


class Haproxy:
    """One frontend on a port of its own, one backend that sends the header in some form."""

    def __init__(self, directory, server_port, how):
        door = socket.create_server(("127.0.0.1", 0))
        self.port = door.getsockname()[1]
        config = directory / "haproxy.cfg"
        config.write_text(f"""
global
    maxconn 200
defaults
    mode tcp
    timeout connect 20s
    timeout client 60s
    timeout server 60s
frontend front
    bind fd@{door.fileno()}
    default_backend back
backend back
    server sally 127.0.0.1:{server_port} {how}
""")
        self.process = subprocess.Popen([HAPROXY, "-db", "-f", str(config)],
                                        pass_fds=[door.fileno()], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.output = tool.Lines(self.process.stdout)
        door.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(tool.LIMIT)


@needs_haproxy
@pytest.mark.parametrize("how", [
    "send-proxy", "send-proxy-v2",
    "send-proxy-v2 proxy-v2-options crc32c,unique-id,ssl,cert-cn",
    "send-proxy-v2 check inter 50ms",  # checks are LOCAL commands
    "send-proxy check inter 50ms",
])
def test_behind_haproxy_the_client_is_banned_and_not_the_proxy(tmp_path, how):
    bans = tmp_path / "bans"
    bans.write_text(f"{BANNED}\n127.0.0.1\n")
    with tool.Server("--bans", bans, "--proxy-from", "127.0.0.1", "--conns-per-address",
                     "3") as server:
        with Haproxy(tmp_path, server.port, how) as proxy:
            kept = [dial_from(f"127.0.0.{n}", proxy.port) for n in range(20, 30) for _ in range(3)]
            for client in kept:
                tool.echo(client)
            assert is_served(GOOD, proxy.port)
            assert not is_served(BANNED, proxy.port)
            assert not is_served("127.0.0.20", proxy.port)  # it has three already
            bans.write_text(f"{GOOD}\n")
            server.signal(signal.SIGHUP)
            assert server.err.next().endswith(": 1 bans\n")
            assert is_served(BANNED, proxy.port)
            assert not is_served(GOOD, proxy.port)
            for client in kept:
                tool.echo(client, bytes(range(256)) * 40)
                client.close()
    assert not server.err.text().count("\n") > 1, "neither checks nor refusals fill the log"


@needs_haproxy
def test_haproxys_plain_checks_are_nobodys_fault(tmp_path):
    """A check that connects and goes, on a server that wants a header."""
    with tool.Server("--proxy-from", "127.0.0.1", "--stats", "1") as server:
        with Haproxy(tmp_path, server.port,
                     "send-proxy check inter 50ms no-check-send-proxy") as proxy:
            assert is_served(GOOD, proxy.port)
            server.out.next()
            assert is_served(GOOD, proxy.port)
    assert server.err.text() == ""
