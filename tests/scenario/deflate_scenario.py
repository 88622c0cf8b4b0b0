"""The example whose connections are compressed, with Python's zlib at the other end."""
import os
import random
import signal
import socket
import subprocess
import threading
import zlib

import pytest
import tool

PROGRAM = tool.BIN / "example_deflate"
MIB = 1 << 20


@pytest.fixture(name="server")
def one_server(kind):
    if not PROGRAM.exists():
        pytest.skip("example_deflate was not built: zlib was not found (zlib1g-dev)")
    port = tool.free_port()
    server = subprocess.Popen([PROGRAM, f"127.0.0.1:{port}"], stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "SALLY_PORT": kind})
    server.port = port
    try:
        tool.wait_until(lambda: tool.listens(port), "it listens")
        yield server
        server.send_signal(signal.SIGINT)
        assert server.wait(tool.LIMIT) == 0
    finally:
        server.kill()


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=tool.LIMIT)


def read_to_end(peer):
    received = bytearray()
    while piece := peer.recv(65536):
        received += piece
    return bytes(received)


def resident_kib(server):
    with open(f"/proc/{server.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_each_send_can_be_read_at_once(server):
    """The answer to what was flushed comes before anything else is sent."""
    pack, unpack = zlib.compressobj(), zlib.decompressobj()
    with connect(server) as peer:
        for text in (b"one", b"two" * 1000, bytes(100_000), random.Random(1).randbytes(70_000)):
            peer.sendall(pack.compress(text) + pack.flush(zlib.Z_SYNC_FLUSH))
            back = b""
            while len(back) < len(text):
                back += unpack.decompress(peer.recv(65536))
            assert back == text
        peer.sendall(pack.flush())
        assert unpack.decompress(read_to_end(peer)) == b""
        assert unpack.eof  # the stream's own end, with its checksum


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_streams_come_back_however_they_are_cut(server, seed):
    numbers = random.Random(seed)
    text = b"".join(numbers.choice([b"a" * 5000, numbers.randbytes(3000), b"words " * 50])
                    for _ in range(300))
    wire = zlib.compress(text, level=seed)
    received = []
    with connect(server) as peer:
        reader = threading.Thread(target=lambda: received.append(read_to_end(peer)))
        reader.start()
        at = 0
        while at < len(wire):
            piece = numbers.choice([1, 7, 1000, 60_000])
            peer.sendall(wire[at:at + piece])
            at += piece
        peer.shutdown(socket.SHUT_WR)
        reader.join(tool.LIMIT)
    assert zlib.decompress(received[0]) == text


def test_a_bomb_fills_no_memory(server):
    """8 MiB of 1000 to 1 from each of eight, of whom seven read nothing: it is never there as a
    whole, which would be 64 MiB. (The long form: 64 MiB from each.)"""
    size = (64 if tool.LONG else 8) * MIB
    before = resident_kib(server)
    bomb = zlib.compress(bytes(size), level=9)
    assert len(bomb) < size // 800
    peers = [connect(server) for _ in range(8)]
    for peer in peers:
        peer.sendall(bomb)
        peer.shutdown(socket.SHUT_WR)
    unpack, length = zlib.decompressobj(), 0
    while piece := peers[0].recv(65536):
        while piece:
            length += len(unpack.decompress(piece, MIB))
            piece = unpack.unconsumed_tail
    assert unpack.eof and length == size
    grown = resident_kib(server) - before
    print(f"grew by {grown} KiB")
    assert grown < 20 * 1024
    for peer in peers:
        peer.close()


def test_what_is_no_stream_is_told_goodbye(server):
    with connect(server) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        peer.settimeout(tool.LIMIT)
        assert zlib.decompress(read_to_end(peer)) == b""
    cut = zlib.compress(b"a text that is cut")[:-5]
    with connect(server) as peer:
        peer.sendall(cut)
        peer.shutdown(socket.SHUT_WR)
        assert zlib.decompress(read_to_end(peer)) == b"a text that is cut"
    assert "did not pass a filter" in server.stderr.readline()
    assert "did not pass a filter" in server.stderr.readline()
