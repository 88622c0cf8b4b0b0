"""What an idle connection costs: the server's own pages, and the kernel's objects for both ends."""
import json
import select
import subprocess

from . import machine, rounds, servers

HELD_S = 60
ROUNDS_MAX = 3


def one(binaries, kind, load, cores):
    """Bytes for each connection, or servers.Failed."""
    conns = load.args[load.args.index("--conns") + 1]
    with servers.Server(binaries, kind, load.mode, cores[1]) as server:
        pid = server.process.pid
        user, slab = machine.user_bytes(pid), machine.slab_bytes()
        command = servers.generator(binaries, load, server, 1, 0)
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True, preexec_fn=servers.pinned(cores[0]))
        try:
            ready, _, _ = select.select([client.stdout], [], [], HELD_S)
            if not ready or client.stdout.readline() != "held\n":
                raise servers.Failed(f"{kind.name}: the connections were not made")
            user, after = machine.user_bytes(pid) - user, machine.slab_bytes()
            rest, _ = client.communicate(timeout=HELD_S)
            if client.returncode:
                raise servers.Failed(f"{kind.name}: {json.loads(rest).get('error')}")
        finally:
            client.kill()
            client.wait()
    return {"user_bytes": user / conns,
            "kernel_bytes": None if slab is None else (after - slab) / conns}


def measure(measured, load, count):
    """As Rounds.measure."""
    kept, failures = [], {}
    rounds.say(f"{load.name}: ", end="")
    for number in range(min(count, ROUNDS_MAX)):
        found = {}
        for kind in measured.kinds[::-1] if number % 2 else measured.kinds:
            try:
                found[kind.name] = one(measured.binaries, kind, load, measured.cores)
                rounds.say(".", end="")
            except servers.Failed as why:
                failures[kind.name] = str(why)
                rounds.say("x", end="")
        kept.append(found)
        rounds.say("| ", end="")
    rounds.say("")
    summary = {}
    for name in {name: None for found in kept for name in found}:
        own = [found[name] for found in kept if name in found]
        summary[name] = {key: rounds.spread([it[key] for it in own])
                         for key in own[0] if own[0][key] is not None}
    return {"text": load.text, "unit": load.unit, "rounds": kept, "dropped": [],
            "failures": failures, "memory": True, "summary": summary}
