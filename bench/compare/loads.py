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
    cross: bool = True  # belongs to the comparison without --only


def echo(name, text, conns, size, depth=1, **more):
    args = ("--conns", conns, "--size", size, "--depth", depth)
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
)
BY_NAME = {load.name: load for load in ALL}
