"""Two hosts on one machine that reach each other by ssh; each has network, processes, home and folder of Ray alone."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HOSTS = {"radnet-a": "10.197.13.1", "radnet-b": "10.197.13.2"}
INTERFACE = "rn0"  # the same name on both ends: gloo is told one
SSHD = "/usr/sbin/sshd"
# Arguments: passwd, configuration of sshd. Whatever the host starts ends with it.
_BOOT = 'mount --bind "$1" /etc/passwd && mkdir -p /tmp/ray && mount -t tmpfs none /tmp/ray && exec "$0" -D -e -f "$2"'


def missing(*tools: str) -> str:
    """Why there can be no such hosts here, or that one of these tools is absent; empty where there can be."""
    if os.geteuid() != 0:
        return "needs root"
    needed = ("ip", "unshare", "ssh", "ssh-keygen", SSHD, *tools)
    absent = [tool for tool in needed if shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None]
    if absent:
        return f"needs {', '.join(absent)} (Debian: iproute2, util-linux, openssh-server, pdsh, rsync, curl)"
    probe = subprocess.run(["ip", "netns", "add", "radnet-probe"], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", "radnet-probe"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else f"network namespaces are not allowed here: {probe.stderr.strip()}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def two_hosts(folder: Path) -> Iterator[None]:
    """The hosts for as long as the block lasts. folder: gets keys, ssh_config, bin/ssh that reads it, and HOST/, the
    home of root on each."""
    with ExitStack() as stack:
        for host in HOSTS:
            # An earlier run that was killed may have left its own behind.
            subprocess.run(["ip", "netns", "del", host], capture_output=True, check=False)
            _ip("netns", "add", host)
            stack.callback(_ip, "netns", "del", host)
        ends = [["name", INTERFACE, "netns", host] for host in HOSTS]
        _ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for host, address in HOSTS.items():
            _ip("-n", host, "addr", "add", f"{address}/24", "dev", INTERFACE)
            for link in ("lo", INTERFACE):
                _ip("-n", host, "link", "set", link, "up")
        _write_ssh(folder)
        for host in HOSTS:
            (folder / host).mkdir()
            passwd = folder / f"{host}.passwd"
            own = f"root:x:0:0:root:{folder / host}:/bin/bash\n"
            lines = Path("/etc/passwd").read_text().splitlines(keepends=True)
            passwd.write_text("".join([own, *(line for line in lines if not line.startswith("root:"))]))
            private = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _BOOT]
            server = subprocess.Popen(
                ["ip", "netns", "exec", host, *private, SSHD, str(passwd), str(folder / "sshd_config")],
                stderr=(folder / f"{host}.log").open("w"),
            )
            stack.callback(server.wait)
            stack.callback(server.kill)
        _wait_for_ssh(folder)
        yield


def _write_ssh(folder: Path) -> None:
    """Keys and configurations used by these hosts alone."""
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
    # Programs call `ssh` from the PATH; ssh itself knows no variable for its configuration.
    wrapper = folder / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    wrapper.chmod(0o755)


def _wait_for_ssh(folder: Path) -> None:
    for host in HOSTS:
        command = ["ip", "netns", "exec", "radnet-a", "ssh", "-F", str(folder / "ssh_config"), host, "true"]
        deadline = time.monotonic() + 20
        while subprocess.run(command, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, (folder / f"{host}.log").read_text()
            time.sleep(0.2)
