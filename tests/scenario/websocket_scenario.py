"""examples/websocket.c with clients of others: curl for the page, the websockets library of Python
for the chat, and a raw client of our own that takes nothing but exactly what RFC 6455 says."""
import asyncio
import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
import tool
from examples_scenario import example

try:
    import websockets
except ImportError:
    websockets = None

needs_websockets = pytest.mark.skipif(not websockets, reason="python3-websockets is not installed")
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


class Raw:
    """One connection, every byte of it judged."""

    def __init__(self, port, *fields):
        self.socket = tool.dial(port)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET /ws HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket",
                 "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
                 *fields, "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            assert byte, f"the stream ended in the head {head!r}"
            head += byte
        self.head = head.decode().split("\r\n")
        self.status = self.head[0]
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        if self.status.startswith("HTTP/1.1 101 "):
            accept = f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}"
            assert self.head.count(accept) == 1, self.head
            assert "Upgrade: websocket" in self.head and "Connection: Upgrade" in self.head

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    @staticmethod
    def frame(first, payload):
        mask = os.urandom(4)
        count = len(payload)
        if count < 126:
            head = bytes([first, 0x80 | count])
        elif count < 65536:
            head = bytes([first, 0xfe]) + count.to_bytes(2, "big")
        else:
            head = bytes([first, 0xff]) + count.to_bytes(8, "big")
        return head + mask + bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload))

    def send(self, first, payload=b""):
        self.socket.sendall(self.frame(first, payload))

    def take(self):
        """The next frame: its first byte and its payload; None at the end of the stream."""
        head = tool.receive(self.socket, 2)
        if not head:
            return None
        assert len(head) == 2 and not head[1] & 0x80, "a server masks nothing"
        count = head[1]
        for form, size, least in ((126, 2, 126), (127, 8, 65536)):
            if head[1] == form:
                count = int.from_bytes(tool.receive(self.socket, size), "big")
                assert count >= least, "not the shortest form"
        payload = tool.receive(self.socket, count)
        assert len(payload) == count
        return head[0], payload


    def take_until(self, wanted):
        """Frames up to this one; the stream may not end before."""
        frame = self.take()
        while frame != wanted:
            assert frame, f"the stream ended before {wanted!r}"
            frame = self.take()


@needs_curl
def test_curl_gets_the_page():
    with example("websocket") as port:
        def curl(*options, path="/"):
            done = tool.run("curl", "-sS", "-i", *options, f"http://127.0.0.1:{port}{path}",
                            capture_output=True)
            assert done.returncode == 0, done.stderr
            head, _, content = done.stdout.decode().partition("\r\n\r\n")
            return head.split("\r\n"), content

        head, page = curl()
        assert head[0] == "HTTP/1.1 200 OK"
        assert f"Content-Length: {len(page)}" in head
        assert "new WebSocket(" in page and page.endswith("</script>\n")
        head, nothing = curl("-I")
        assert f"Content-Length: {len(page)}" in head and nothing == ""
        assert curl(path="/no")[0][0] == "HTTP/1.1 404 Not Found"
        assert curl("-d", "x=1")[0][0] == "HTTP/1.1 413 Content Too Large"
        assert curl("-X", "DELETE")[0][0] == "HTTP/1.1 405 Method Not Allowed"


def test_a_strict_client_hears_what_it_said():
    with example("websocket") as port, Raw(port) as one, Raw(port) as other:
        assert "Sec-WebSocket-Protocol" not in "\n".join(one.head)
        # a look at both: each has joined when it hears itself, and others may be heard before
        for raw, name in ((one, b"one"), (other, b"other")):
            raw.send(0x81, name)
            raw.take_until((0x81, name))
        assert one.take() == (0x81, b"other")
        for size in (0, 125, 126, 65535):
            text = b"t" * size
            whole = Raw.frame(0x01, text[:size // 2]) + Raw.frame(0x89, b"?") \
                + Raw.frame(0x80, text[size // 2:])
            for at in range(0, len(whole), 1000):
                one.socket.sendall(whole[at:at + 1000])
            assert one.take() == (0x8a, b"?")
            assert one.take() == (0x81, text)
            assert other.take() == (0x81, text)
        one.send(0x88, (4000).to_bytes(2, "big") + b"bye")
        assert one.take() == (0x88, (4000).to_bytes(2, "big"))
        assert one.take() is None
        other.send(0x82, b"b" * 65537)
        assert other.take() == (0x88, (1009).to_bytes(2, "big"))
        assert other.take() is None


def test_a_page_of_another_site_is_refused():
    with example("websocket") as port:
        with Raw(port, "Origin: http://evil.example") as raw:
            assert raw.status == "HTTP/1.1 403 Forbidden"
        with Raw(port, f"Origin: http://127.0.0.1:{port}", "Sec-WebSocket-Protocol: x, chat",
                 "Sec-WebSocket-Extensions: permessage-deflate") as raw:
            assert raw.status == "HTTP/1.1 101 Switching Protocols"
            assert "Sec-WebSocket-Protocol: chat" in raw.head
            assert not re.search("extensions", "\n".join(raw.head), re.I)


@needs_websockets
def test_the_chat_with_the_websockets_library():
    async def chat(port):
        address = f"ws://127.0.0.1:{port}/ws"
        count = 20 if not tool.LONG else 200
        people = [await websockets.connect(address, subprotocols=["chat"]) for _ in range(count)]
        assert {one.subprotocol for one in people} == {"chat"}
        for index, one in enumerate(people):  # each says its name until it hears it: it has joined
            await one.send(f"{index} is here")
            while await one.recv() != f"{index} is here":
                pass
        await people[0].send(["in ", "three ", "parts \u20ac"])
        for one in people:
            while await one.recv() != "in three parts \u20ac":
                pass
        await people[1].send(b"\0\xff" * 20000)
        for one in people:
            assert await one.recv() == b"\0\xff" * 20000
        await (await people[2].ping(b"are you there"))
        await people[3].close(4321, "enough")
        assert people[3].close_code == 4321
        await people[4].send(b"x" * 70000)
        with pytest.raises(websockets.ConnectionClosed):
            await people[4].recv()
        assert people[4].close_code == 1009
        for one in people:
            await one.close()
            assert one.close_code in (1000, 1009, 4321)

    with example("websocket") as port:
        asyncio.run(asyncio.wait_for(chat(port), tool.LIMIT))


def test_a_server_that_stops_says_goodbye():
    address = f"127.0.0.1:{tool.free_port()}"
    server = subprocess.Popen([tool.BIN / "example_websocket", address])
    try:
        raw = None
        began = time.monotonic()
        while not raw:
            assert time.monotonic() - began < tool.LIMIT
            try:
                raw = Raw(int(address.split(":")[1]))
            except ConnectionRefusedError:
                time.sleep(0.01)
        with raw:
            server.send_signal(signal.SIGTERM)
            assert raw.take() == (0x88, (1001).to_bytes(2, "big"))
            assert raw.take() is None
        assert server.wait(tool.LIMIT) == 0
    finally:
        server.kill()

