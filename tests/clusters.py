"""A Ray cluster of this test's own on loopback: token, ports and folder of its own, nobody else's processes touched."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from radnet.shards.phantom import write_archive
from tests.conftest import ROOT
from tests.jobs import BIN

LOOPBACK = "127.0.0.1"
SMALL = ["--object-store-memory=80000000", "--disable-usage-stats"]


@dataclass
class Cluster:
    """programs: where `ray` is. nodes: a process for each `ray start --block`. folder: short, for Ray's
    sockets have at most 107 characters."""

    folder: Path
    gcs: str
    dashboard: str
    environment: dict[str, str]
    programs: Path
    nodes: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *words: str, before: tuple[str, ...] = ()) -> None:
        """`ray start` with these words, in a session of its own. before: a command that runs it, as `unshare -m`."""
        name = f"n{len(self.nodes)}"
        with open(self.folder / f"{name}.log", "w") as log:
            # A test that is killed takes its nodes along.
            command = [
                "setpriv",
                "--pdeathsig",
                "TERM",
                *before,
                str(self.programs / "ray"),
                "start",
                "--block",
                *SMALL,
                *words,
            ]
            node = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        self.nodes.append(node)

    def ray(self, *words: str, timeout: float = 150, **environment: str | None) -> subprocess.CompletedProcess:
        """Run `ray WORDS`; an environment value of None takes the variable away."""
        merged = {name: value for name, value in (self.environment | environment).items() if value is not None}
        command = [str(self.programs / "ray"), *words]
        return subprocess.run(command, env=merged, capture_output=True, text=True, timeout=timeout, check=False)

    def submit(self, checkout: Path, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        """`ray job submit` of `launch/shard.py WORDS` from a checkout."""
        options = ("--address", self.dashboard, "--working-dir", str(checkout), *options)
        return self.ray("job", "submit", *options, "--", "python", "launch/shard.py", *words)

    def lose(self, num: int) -> None:
        """End node `num` at once, as a machine that loses power."""
        import psutil

        below = psutil.Process(self.nodes[num].pid).children(recursive=True)
        for process in (self.nodes[num], *below):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def logs(self) -> str:
        """What the nodes said at start."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("n*.log")))


def free_ports(num: int) -> list[int]:
    """Ports that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(num)]
    try:
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def cluster(num_cpus: int, programs: Path = BIN, **variables: str) -> Iterator[Cluster]:
    """A head with its job server on loopback, guarded by a token. programs: where `ray` is, and a job finds `python`.
    variables: more of the nodes' environment."""
    folder = Path(tempfile.mkdtemp(prefix="rj", dir="/tmp"))
    gcs, dashboard, client, *agents = free_ports(5)
    token = folder / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
    environment = inherited | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        **variables,
    }
    found = Cluster(folder, f"{LOOPBACK}:{gcs}", f"http://{LOOPBACK}:{dashboard}", environment, programs)
    try:
        words = ["--head", f"--port={gcs}", f"--node-ip-address={LOOPBACK}", f"--num-cpus={num_cpus}"]
        words += ["--dashboard-host", LOOPBACK, f"--dashboard-port={dashboard}", f"--temp-dir={folder}/h"]
        words += [f"--ray-client-server-port={client}", *_agents(agents)]
        found.start(*words)
        _wait_for_jobs(found)
        yield found
    finally:
        for node in found.nodes:
            _kill_tree(node)
        shutil.rmtree(folder, ignore_errors=True)


def join(cluster: Cluster, num_cpus: int, before: tuple[str, ...] = ()) -> None:
    """One more node on this machine, with ports and a folder of its own; returns when the head counts it."""
    num = len(cluster.nodes)
    words = [f"--address={cluster.gcs}", f"--node-ip-address={LOOPBACK}", f"--num-cpus={num_cpus}"]
    words += _agents(free_ports(2))
    words += [f"--temp-dir={cluster.folder}/w{num}"]
    cluster.start(*words, before=before)
    deadline = time.monotonic() + 180
    while cluster.ray("list", "nodes", "--address", cluster.dashboard).stdout.count("ALIVE") <= num:
        assert time.monotonic() < deadline, cluster.logs()
        if cluster.nodes[-1].poll() is not None:  # Ray gives a node 30 s to start, too little on a busy machine
            cluster.nodes.pop()
            cluster.start(*words, before=before)


def _agents(ports: list[int]) -> list[str]:
    """Ray's own choice of these two ports is the same on every node."""
    return [f"--dashboard-agent-listen-port={ports[0]}", f"--dashboard-agent-grpc-port={ports[1]}"]


def _wait_for_jobs(cluster: Cluster) -> None:
    deadline = time.monotonic() + 90
    while cluster.ray("job", "list", "--address", cluster.dashboard).returncode:
        assert time.monotonic() < deadline and cluster.nodes[0].poll() is None, cluster.logs()
        time.sleep(0.5)


def _kill_tree(node: subprocess.Popen) -> None:
    """End a node and everything below it. Ray's daemons leave the session, so they are found by their parents."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        below = psutil.Process(node.pid).children(recursive=True)
        node.send_signal(signal.SIGTERM)  # ray start --block then stops its daemons
        with suppress(subprocess.TimeoutExpired):
            node.wait(10)
        for process in below:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    node.kill()
    node.wait()


def own_environment(folder: Path) -> Path:
    """A virtual environment without radnet that sees the packages of the tests' own; returns its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    programs = folder / "bin"
    # Its setuptools is Python's own, too old to build radnet.
    subprocess.run([programs / "pip", "uninstall", "--yes", "setuptools"], check=True, capture_output=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (programs / "ray").write_text(f'#!/bin/sh\nexec {programs}/python -m ray.scripts.scripts "$@"\n')
    (programs / "ray").chmod(0o755)
    return programs


def bare_checkout(folder: Path) -> Path:
    """What git tracks of the working tree, copied: nothing built, nothing ignored."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def toy_config(folder: Path, num_patients: int = 3) -> Path:
    """A phantom archive in folder/in, and a configuration that shards it; `out` is given on the command line."""
    write_archive(folder / "in", folder / "truth", num_patients=num_patients, seed=1, write_masks=False)
    content = {
        "sources": [{"path": str(folder / "in"), "collection": "phantom", "licence": "CC0"}],
        "codec": "npy",
        "shard_bytes": 2_000_000,
        "privacy": {"key": "public"},
    }
    (folder / "shard.yaml").write_text(json.dumps(content))
    return folder / "shard.yaml"


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a shard set."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
