"""Files on the wire (P-68, P-69, S2-88), served by examples/files.c to clients with plain sockets:
every byte, between head and tail, whatever the size; a slow reader, many at once, a file that gets
shorter, and what the server's own memory has to do with it (nothing)."""
import contextlib
import hashlib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
import tool

MIB = 1 << 20
BIG = (300 if tool.LONG else 64) * MIB
KINDS = ["uring", "epoll"]


def fill(path, size):
    """Sparse, with something to know each MiB by; its hash."""
    whole = hashlib.sha256()
    with open(path, "wb") as file:
        file.truncate(size)
        for at in range(0, size, MIB):
            file.seek(at)
            file.write(b"%d." % at if size - at > 20 else b"x" * (size - at))
    with open(path, "rb") as file:
        while piece := file.read(MIB):
            whole.update(piece)
    return whole.hexdigest()


class Files:
    def __init__(self, folder, kind):
        self.folder = folder
        self.address = ("127.0.0.1", tool.free_port())
        self.process = subprocess.Popen(
            [tool.BIN / "example_files", folder, "%s:%d" % self.address], stderr=subprocess.PIPE,
            text=True, env={"SALLY_PORT": kind})
        tool.wait_until(lambda: tool.listens(self.address[1]), "it listens")

    def connect(self, buffer=0):
        peer = socket.socket()
        peer.settimeout(tool.LIMIT)
        if buffer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        peer.connect(self.address)
        return peer

    def private_dirty(self):
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="ascii") as rollup:
            return int(re.search(r"Private_Dirty: +(\d+) kB", rollup.read())[1]) * 1024

    def open_files(self):
        return tool.run("ls", "-l", f"/proc/{self.process.pid}/fd", capture_output=True,
                        text=True).stdout.count(str(self.folder))

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(tool.LIMIT) == 0
        return self.process.stderr.read()


@pytest.fixture(params=KINDS)
def files(request, tmp_path):
    server = Files(tmp_path, request.param)
    yield server
    server.process.kill()
    server.process.wait()


def read_answer(stream, pause=0.0, piece=MIB):
    """The hash of a file that comes, with its head and tail looked at."""
    head = re.fullmatch(rb"OK (\d+)\n", stream.readline())
    left = int(head[1])
    whole = hashlib.sha256()
    while left:
        got = stream.read(min(left, piece))
        assert got, f"the end with {left} bytes to come"
        whole.update(got)
        left -= len(got)
        time.sleep(pause)
    assert stream.read(3) == b"\n.\n"
    return whole.hexdigest()


def test_files_of_any_size_come_between_head_and_tail(files):
    sizes = [0, 1, 65535, 65536, 65537, 262144, 262145, BIG]
    hashes = {size: fill(files.folder / f"f{size}", size) for size in sizes}
    with files.connect() as peer, peer.makefile("rb") as stream:
        peer.sendall(b"".join(b"f%d\n" % size for size in sizes))
        assert [read_answer(stream) for _ in sizes] == list(hashes.values())
        peer.shutdown(socket.SHUT_WR)
        assert stream.read(1) == b""
    assert files.stop() == ""


def test_a_file_takes_no_memory_of_the_server_and_is_closed(files):
    """What waits costs a chunk of 4 KiB for each tail, and nothing by the files' size."""
    expected = fill(files.folder / "big", BIG)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(files.connect(4096)) for _ in range(20)]
        streams = [stack.enter_context(peer.makefile("rb")) for peer in peers]
        for peer in peers:
            peer.sendall(b"no-such\n")
        assert {stream.readline()[:3] for stream in streams} == {b"NO "}
        before = files.private_dirty()
        for peer in peers:
            peer.sendall(b"big\n" * 10)  # and the rest of them waits as well
        assert {stream.readline() for stream in streams} == {b"OK %d\n" % BIG}
        assert files.private_dirty() - before < 20 * 64 * 1024
        assert files.open_files() >= 20
    tool.wait_until(lambda: files.open_files() == 0, "each file is closed with its connection")
    with files.connect() as peer, peer.makefile("rb") as stream:
        peer.sendall(b"big\n")
        assert read_answer(stream) == expected
        assert files.private_dirty() - before < 2 * MIB  # with what the pools keep of before
    assert files.stop() == ""


def test_many_readers_of_one_file_at_once_and_a_slow_one(files):
    size = (8 if tool.LONG else 2) * MIB + 12345
    expected = fill(files.folder / "one", size)
    answers = []

    def reader(number):
        with files.connect(4096 if number % 5 == 0 else 0) as peer, peer.makefile("rb") as stream:
            peer.sendall(b"one\none\n")
            slow = number == 0
            answers.extend(read_answer(stream, 0.001 if slow else 0, 65536) for _ in range(2))

    threads = [threading.Thread(target=reader, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(tool.LIMIT)
    assert answers == [expected] * 100
    assert files.stop() == ""


def test_a_file_that_gets_shorter_resets_and_nobody_else_notices(files):
    fill(files.folder / "short", BIG)
    expected = fill(files.folder / "other", MIB)
    with files.connect(4096) as peer, files.connect() as other:
        peer.sendall(b"short\n")
        head = b"OK %d\n" % BIG
        assert peer.recv(len(head), socket.MSG_WAITALL) == head
        with open(files.folder / "short", "rb+") as file:
            file.truncate(BIG // 2)
        got = 0
        with pytest.raises(ConnectionResetError):
            while piece := peer.recv(MIB):
                got += len(piece)
        assert got <= BIG // 2
        with other.makefile("rb") as stream:
            other.sendall(b"other\n")
            assert read_answer(stream) == expected
    assert re.fullmatch(r"files: 127\.0\.0\.1:\d+: the file ends before the bytes asked for\n",
                        files.stop())


def test_only_files_of_the_folder_are_sent(files):
    fill(files.folder / "here", 10)
    (files.folder / "folder").mkdir()
    subprocess.run(["mkfifo", files.folder / "pipe"], check=True)
    (files.folder / ".hidden").write_text("secret")
    (files.folder.parent / "outside").write_text("secret")
    refused = ["", ".", "..", "../outside", "/etc/passwd", ".hidden", "folder", "pipe",
               "folder/../here", "here/", "no-such", "a\\b", "here\0", "a" * 101, "h\u00e9re"]
    for name in refused:
        with files.connect() as peer, peer.makefile("rb") as stream:
            peer.sendall(name.encode()[:102] + b"\n")
            answer = stream.readline()
            assert answer.startswith(b"NO ") or (len(name) > 100 and answer == b""), name
    with files.connect() as peer, peer.makefile("rb") as stream:
        peer.sendall(b"here\n")
        assert read_answer(stream)
    assert files.stop() == ""
