"""The loads: what each asks of the server and of the generator."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Load:
    name: str
    text: str
    kind: str  # the generator's
    args: tuple = ()
    mode: str = "echo"  # the server's
    unit: str = "request"
    seconds: float = 0.6
    warm: float = 0.1
    half_peak: bool = False  # at half the rate that the first server reaches without a limit
    memory: bool = False  # measured in bytes, see memory.py


def echo(name, text, conns, size, depth=1, extra=(), **more):
    args = ("--conns", conns, "--size", size, "--depth", depth, *extra)
    return Load(name, text, "echo", args, **more)


ALL = (
    echo("echo-c1", "64-byte echo, 1 connection", 1, 64),
    echo("echo-c50", "64-byte echo, 50 connections", 50, 64),
    echo("echo-c500", "64-byte echo, 500 connections", 500, 64),
    echo("echo-c5000", "64-byte echo, 5000 connections", 5000, 64, seconds=1.0, warm=0.3),
    echo("echo-1k", "1 KiB echo, 50 connections", 50, 1024),
    echo("pipe16", "64-byte echo, 50 connections with 16 requests under way each", 50, 64, 16),
    echo("echo-4k", "4 KiB echo, 50 connections", 50, 4096),
    echo("echo-16k", "16 KiB echo, 50 connections", 50, 16384),
    echo("echo-64k", "64 KiB echo, 8 connections", 8, 65536),
    Load("stream", "bytes without end, 50 connections, counted in 64 bytes", "stream",
         ("--conns", 50, "--size", 64), unit="64 bytes"),
    Load("fanout", "one 64-byte message to 1000 connections, the next when all have it", "fanout",
         ("--conns", 1001, "--size", 64), mode="fanout", unit="delivery"),
    Load("churn-fin", "connect, one 64-byte echo, close by FIN; 50 at a time", "churn",
         ("--conns", 50, "--size", 64, "--sources", 64), unit="connection"),
    Load("churn-rst", "connect, one 64-byte echo, close by RST; 50 at a time", "churn",
         ("--conns", 50, "--size", 64, "--sources", 64, "--reset"), unit="connection"),
    Load("rate", "64-byte echo, 50 connections, at half the rate that raw_epoll reaches, latency "
         "from the moment due", "rate", ("--conns", 50, "--size", 64), half_peak=True,
         seconds=1.0),
    echo("idle-15000", "as echo-c50, with 15000 idle connections beside", 50, 64,
         extra=("--idle", 15000, "--sources", 4)),
    Load("threads", "100 threads of the server send 64-byte messages to 50 connections", "receive",
         ("--conns", 50), mode="threads", unit="message", seconds=1.0, warm=0.3),
    Load("files", "1 MiB files over 8 connections",
         "fetch", ("--conns", 8, "--size", 1 << 20), mode="files", unit="file"),
    Load("redis-c50", "cross-check: redis-benchmark, PING of 14 bytes, 50 connections", "redis",
         ("-c", 50, "-n", 100000)),
    Load("redis-p16", "cross-check: redis-benchmark, PING of 14 bytes, 50 connections, 16 at a time",
         "redis", ("-c", 50, "-n", 600000, "-P", 16)),
    Load("memory", "10000 connections that have had one echo each", "hold",
         ("--conns", 10000, "--size", 64, "--sources", 4), unit="connection", memory=True),
)
BY_NAME = {load.name: load for load in ALL}
