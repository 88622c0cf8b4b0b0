"""The programs of examples/, which are those of the README."""
import signal
import socket
import subprocess

import tool


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_the_echo_server_and_the_client():
    address = f"127.0.0.1:{free_port()}"
    server = subprocess.Popen([tool.BIN / "example_echo", address], stderr=subprocess.PIPE,
                              text=True)
    try:
        def client():
            return tool.run(tool.BIN / "example_client", address, capture_output=True, text=True)

        tool.wait_until(lambda: client().returncode == 0, "the client is served")
        assert client().stdout == "hello\n"
        server.send_signal(signal.SIGINT)
        assert server.wait(tool.LIMIT) == 0
        assert server.stderr.read() == ""
        refused = client()
        assert refused.returncode == 1
        assert refused.stderr.splitlines()[0] == "client: the connection could not be made"
        assert "refused" in refused.stderr
    finally:
        server.kill()


def test_the_echo_server_says_why_it_cannot_start():
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = tool.run(tool.BIN / "example_echo", address, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"echo: {address}: ") and "in use" in done.stderr


def test_the_messages_server():
    address = f"127.0.0.1:{free_port()}"
    server = subprocess.Popen([tool.BIN / "example_messages", address], stderr=subprocess.PIPE,
                              text=True)
    host, port = address.split(":")

    def connect():
        try:
            return socket.create_connection((host, int(port)), timeout=tool.LIMIT)
        except ConnectionRefusedError:
            return None

    def frame(payload):
        return len(payload).to_bytes(4, "big") + payload

    def read_to_end(peer):
        received = b""
        while piece := peer.recv(4096):
            received += piece
        return received

    try:
        tool.wait_until(lambda: (peer := connect()) and not peer.close(), "it listens")
        with connect() as peer:
            for byte in frame(b"\x02\x05hello") + frame(b"\x01\x03abc"):
                peer.sendall(bytes([byte]))
            peer.sendall(b"\xff\xff\xff\xff garbage")
            assert read_to_end(peer) == frame(b"\x02olleh") + frame(b"\x01" + bytes(7) + b"\x03")
        with connect() as peer:
            peer.sendall(frame(b"\x01\x09short"))
            assert read_to_end(peer) == b""
        server.send_signal(signal.SIGINT)
        assert server.wait(tool.LIMIT) == 0
        told = server.stderr.read()
        assert told.count("\n") == 1 and told.endswith("a message longer than allowed\n"), told
    finally:
        server.kill()


def test_the_client_that_reconnects():
    address = f"127.0.0.1:{free_port()}"
    client = subprocess.Popen([tool.BIN / "example_reconnect", address], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    try:
        out, err = tool.Lines(client.stdout), tool.Lines(client.stderr)
        assert err.next().startswith("the connection could not be made; again in ")
        for _ in range(2):
            server = subprocess.Popen([tool.BIN / "example_echo", address])
            try:
                while (said := err.next()) != "up\n":
                    assert "; again in " in said
                assert out.next() == "hello\n"
            finally:
                server.kill()
                server.wait(tool.LIMIT)
            assert "; again in " in err.next()
        client.send_signal(signal.SIGTERM)
        assert client.wait(tool.LIMIT) == 0
        assert err.text().endswith("ended\n")
    finally:
        client.kill()
