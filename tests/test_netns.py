"""Two real nodes: network namespaces with addresses and sshd of their own, joined by `deepspeed --hostfile`."""

import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.corpus import write_set
from tests.jobs import BIN, TOY, losses, pretrain

HOSTS = {"radnet-a": "10.197.13.1", "radnet-b": "10.197.13.2"}
INTERFACE = "rn0"  # the same name on both ends: gloo is told one
SSHD = "/usr/sbin/sshd"


def _missing() -> str:
    if os.geteuid() != 0:
        return "needs root"
    tools = ("ip", "ssh", "ssh-keygen", "pdsh", SSHD)
    absent = [tool for tool in tools if shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None]
    if absent:
        return f"needs {', '.join(absent)} (Debian: iproute2, openssh-server, pdsh)"
    probe = subprocess.run(["ip", "netns", "add", "radnet-probe"], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", "radnet-probe"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else f"network namespaces are not allowed here: {probe.stderr.strip()}"


pytestmark = pytest.mark.netns


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Two hosts that reach each other by ssh; yields the folder with ssh's configuration."""
    reason = _missing()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("hosts")
    with ExitStack() as stack:
        for host in HOSTS:
            # An earlier run that was killed may have left its own behind.
            subprocess.run(["ip", "netns", "del", host], capture_output=True, check=False)
            _ip("netns", "add", host)
            stack.callback(_ip, "netns", "del", host)
        _ip(
            "link",
            "add",
            INTERFACE,
            "netns",
            "radnet-a",
            "type",
            "veth",
            "peer",
            "name",
            INTERFACE,
            "netns",
            "radnet-b",
        )
        for host, address in HOSTS.items():
            _ip("-n", host, "addr", "add", f"{address}/24", "dev", INTERFACE)
            for link in ("lo", INTERFACE):
                _ip("-n", host, "link", "set", link, "up")
        _write_ssh(folder)
        for host in HOSTS:
            server = subprocess.Popen(
                ["ip", "netns", "exec", host, SSHD, "-D", "-e", "-f", str(folder / "sshd_config")],
                stderr=(folder / f"{host}.log").open("w"),
            )
            stack.callback(server.wait)
            stack.callback(server.terminate)
        _wait_for_ssh(folder)
        yield folder


def _write_ssh(folder: Path) -> None:
    """Keys and configurations used by this test alone."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd separates privileges there
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\nStrictModes no\nPermitRootLogin yes\n"
        f"UsePAM no\nPidFile none\n"
    )
    hosts = "".join(f"Host {host}\n  HostName {address}\n" for host, address in HOSTS.items())
    (folder / "ssh_config").write_text(
        f"{hosts}Host *\n  IdentityFile {folder}/user\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n"
        "  LogLevel ERROR\n"
    )
    # The launcher and pdsh both call `ssh` from the PATH; ssh itself knows no variable for its configuration.
    wrapper = folder / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    wrapper.chmod(0o755)
    (folder / "hostfile").write_text("".join(f"{host} slots=1\n" for host in HOSTS))
    # What DeepSpeed passes on to the other nodes.
    (folder / "environment").write_text(f"GLOO_SOCKET_IFNAME={INTERFACE}\nDS_ACCELERATOR=cpu\nOMP_NUM_THREADS=1\n")


def _wait_for_ssh(folder: Path) -> None:
    for host in HOSTS:
        command = ["ip", "netns", "exec", "radnet-a", "ssh", "-F", str(folder / "ssh_config"), host, "true"]
        deadline = time.monotonic() + 20
        while subprocess.run(command, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, (folder / f"{host}.log").read_text()
            time.sleep(0.2)


def test_two_nodes_train_as_one_node_that_accumulates(hosts, tmp_path):
    shards = write_set(tmp_path / "set", {"train": 14, "validation": 3})
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert pretrain(alone, shards).returncode == 0
    command = ["ip", "netns", "exec", "radnet-a", str(BIN / "deepspeed"), f"--hostfile={hosts / 'hostfile'}"]
    command += [f"--master_addr={HOSTS['radnet-a']}", "--master_port=29561", str(ROOT / "launch" / "pretrain.py")]
    environment = os.environ | {
        "PATH": f"{hosts / 'bin'}:{BIN}:{os.environ['PATH']}",
        "DS_ACCELERATOR": "cpu",
        "DS_ENV_FILE": str(hosts / "environment"),
        "PDSH_RCMD_TYPE": "ssh",
    }
    words = [*command, *TOY, f"run={together}", f"data.shards={shards}"]
    result = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "2 processes" in result.stdout
    expected, found = losses(alone), losses(together)
    assert [found[step] for step in sorted(found)] == pytest.approx(
        [expected[step] for step in sorted(expected)], rel=1e-4
    )
