"""examples/proxy between programs that are not ours: bytes both ways, half-close, back-pressure,
resets."""
import contextlib
import hashlib
import os
import random
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
import tool

MEGABYTES = 500 if tool.LONG else 50
BLOCK = random.Random(5002).randbytes(1 << 20)


class Proxy:
    """The proxy, and the listening socket behind it."""

    def __init__(self, kind):
        self.door = socket.create_server(("127.0.0.1", 0))
        self.door.settimeout(tool.LIMIT)
        self.port = tool.free_port()
        self.process = subprocess.Popen(
            [tool.BIN / "example_proxy", f"127.0.0.1:{self.port}",
             "127.0.0.1:%d" % self.door.getsockname()[1]],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "SALLY_PORT": kind})

    def pair(self):
        """A client and what the server behind gets of it."""
        def dial():
            with contextlib.suppress(ConnectionRefusedError):
                return tool.dial(self.port)
            return None

        client = []
        tool.wait_until(lambda: client.append(dial()) or client[-1], "the proxy listens")
        server, _ = self.door.accept()
        server.settimeout(tool.LIMIT)
        return client[-1], server

    def private_bytes(self):
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file.readlines()[1:])
        return int(fields["Private_Dirty"].split()[0]) * 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(tool.LIMIT) == 0
        assert self.process.stderr.read() == ""


@pytest.fixture
def proxy(kind):
    running = Proxy(kind)
    try:
        yield running
        running.stop()
    finally:
        running.process.kill()
        running.process.wait(tool.LIMIT)
        running.process.stderr.close()
        running.door.close()


def send_all(connection, megabytes, digests, name):
    digest = hashlib.sha256()
    for number in range(megabytes):
        block = struct.pack(">I", number) + BLOCK[4:]
        digest.update(block)
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)
    digests[name] = digest.hexdigest()


def receive_all(connection):
    digest, count = hashlib.sha256(), 0
    while part := connection.recv(1 << 20):
        digest.update(part)
        count += len(part)
    return digest.hexdigest(), count


def hang_up_hard(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_much_goes_both_ways_at_once(proxy):
    client, server = proxy.pair()
    digests, got = {}, {}
    threads = [
        threading.Thread(target=send_all, args=(client, MEGABYTES, digests, "client")),
        threading.Thread(target=send_all, args=(server, MEGABYTES, digests, "server")),
        threading.Thread(target=lambda: got.update(client=receive_all(client))),
        threading.Thread(target=lambda: got.update(server=receive_all(server)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5 * tool.LIMIT)
    assert got["server"] == (digests["client"], MEGABYTES << 20)
    assert got["client"] == (digests["server"], MEGABYTES << 20)
    client.close()
    server.close()


def test_an_answer_comes_after_the_end_of_the_question(proxy):
    for first in (0, 1):
        ends = proxy.pair()
        asks, answers = ends[first], ends[1 - first]
        asks.sendall(b"question")
        asks.shutdown(socket.SHUT_WR)
        assert tool.receive(answers, 100) == b"question"  # up to the end of the stream
        answers.sendall(b"answer")
        answers.shutdown(socket.SHUT_WR)
        assert tool.receive(asks, 100) == b"answer"
        asks.close()
        answers.close()


def test_a_slow_reader_holds_up_the_sender_and_fills_no_memory(proxy):
    client, server = proxy.pair()
    before = proxy.private_bytes()
    server.setblocking(False)
    sent, quiet_since = 0, time.monotonic()
    while time.monotonic() - quiet_since < 1 and sent < MEGABYTES << 20:
        with contextlib.suppress(BlockingIOError):
            sent += server.send(BLOCK)
            quiet_since = time.monotonic()
            continue
        time.sleep(0.01)
    # what the kernel's buffers and the proxy's queue take is far less
    assert sent < MEGABYTES << 20, "the sender was never held up"
    assert proxy.private_bytes() - before < 4 << 20
    other, behind = proxy.pair()  # nobody else waits for it
    other.sendall(b"x")
    assert behind.recv(1) == b"x"
    server.settimeout(tool.LIMIT)
    client.sendall(b"still here")  # the other direction goes on
    assert tool.receive(server, 10) == b"still here"
    server.shutdown(socket.SHUT_WR)
    assert receive_all(client)[1] == sent
    for connection in (client, server, other, behind):
        connection.close()


def test_a_reset_is_passed_on(proxy):
    for first in (0, 1):
        ends = proxy.pair()
        ends[first].sendall(b"x")
        assert ends[1 - first].recv(1) == b"x"
        hang_up_hard(ends[first])
        with pytest.raises(ConnectionResetError):
            ends[1 - first].recv(1)
        ends[1 - first].close()


def test_who_comes_for_a_server_that_is_gone_is_reset(proxy):
    for connection in proxy.pair():
        connection.close()
    proxy.door.close()
    with pytest.raises(ConnectionResetError):  # already while it connects, or after
        with tool.dial(proxy.port) as client:
            client.recv(1)
