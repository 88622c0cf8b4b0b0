"""Holds connections in a process of its own, whose descriptor limit they count against.

Each line on standard input is a command, answered by one line: connect N, echo N (on the first N),
close N."""
import socket
import sys

PORT = int(sys.argv[1])
LIMIT = 60


def connect(count):
    for _ in range(count):
        held.append(socket.create_connection(("127.0.0.1", PORT), timeout=LIMIT))


def echo(count):
    for connection in held[:count]:
        connection.sendall(b"hello")
        assert connection.recv(5, socket.MSG_WAITALL) == b"hello"


def close(count):
    for connection in held[:count]:
        connection.close()
    del held[:count]


held = []
for line in sys.stdin:
    name, number = line.split()
    {"connect": connect, "echo": echo, "close": close}[name](int(number))
    print("done", flush=True)
