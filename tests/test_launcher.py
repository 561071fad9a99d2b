"""Two hosts: Ray's cluster launcher with configs/ray/cluster.yaml over ssh, and the README's commands by hand."""

import json
import re
import subprocess
import time
from types import SimpleNamespace

import pytest
import yaml

from tests.clusters import bare_checkout, own_environment, toy_config
from tests.hosts import HOSTS, missing, two_hosts
from tests.jobs import BIN

pytestmark = [pytest.mark.netns, pytest.mark.slow]
CLUSTER = "configs/ray/cluster.yaml"


@pytest.fixture
def site(tmp_path_factory):
    """Two hosts with an environment of their own and no index of packages, and a checkout; yields both folders."""
    if reason := missing("rsync", "curl"):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("site")
    with two_hosts(folder):
        for host in HOSTS:
            own_environment(folder / host / "radnet-env")
            (folder / host / ".bashrc").write_text("export PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=0\n")
        yield SimpleNamespace(folder=folder, checkout=bare_checkout(folder / "checkout"))


def _edit_cluster(site: SimpleNamespace) -> None:
    """What its comments tell a user to edit."""
    content = yaml.safe_load((site.checkout / CLUSTER).read_text())
    content["provider"] |= {"head_ip": HOSTS["radnet-a"], "worker_ips": [HOSTS["radnet-b"]]}
    content["auth"] = {"ssh_user": "root", "ssh_private_key": str(site.folder / "user")}
    (site.checkout / CLUSTER).write_text(yaml.safe_dump(content))


def _ray(site: SimpleNamespace, *words: str) -> str:
    """Run Ray's launcher in the checkout, on the first host."""
    home = site.folder / "home"
    home.mkdir(exist_ok=True)
    environment = {
        "PATH": f"{site.folder / 'bin'}:{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "RAY_TMPDIR": str(home),
        "RAY_USAGE_STATS_ENABLED": "0",
        "TERM": "dumb",
    }
    command = ["ip", "netns", "exec", "radnet-a", str(BIN / "ray"), *words]
    options = {"cwd": site.checkout, "env": environment, "stdin": subprocess.DEVNULL, "timeout": 300, "check": False}
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    assert ended.returncode == 0, f"{words}: {ended.stdout}"
    return ended.stdout


def _shell(site: SimpleNamespace, host: str, command: str, code: int = 0) -> str:
    """Run a command in a login on a host, with its own radnet environment and a token demanded."""
    ssh = ["ip", "netns", "exec", "radnet-a", str(site.folder / "bin" / "ssh"), host]
    ready = "export PATH=~/radnet-env/bin:$PATH RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0; "
    ended = subprocess.run([*ssh, ready + command], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == code, f"{command}: {ended.stdout}{ended.stderr}"
    return ended.stdout


def _raylets(site: SimpleNamespace, host: str) -> int:
    return int(_shell(site, host, "pgrep -xc raylet || true"))


def test_a_cluster_goes_up_works_and_goes_down(site, tmp_path):
    config = toy_config(tmp_path, num_patients=1)
    _edit_cluster(site)
    _ray(site, "get-auth-token", "--generate")
    _ray(site, "up", "--yes", CLUSTER)
    deadline = time.monotonic() + 120
    while _raylets(site, "radnet-b") == 0:
        assert time.monotonic() < deadline, _ray(site, "exec", CLUSTER, "cat /tmp/ray/session_latest/logs/monitor*")
        time.sleep(2)
    said = _ray(site, "submit", CLUSTER, "launch/shard.py", str(config), f"out={tmp_path / 'out'}")
    assert "3 series sharded" in said and (tmp_path / "out" / "index.json").is_file()
    listed = tmp_path / "actors.json"
    _ray(site, "exec", CLUSTER, f"ray list actors --format json --detail --limit 1000 > {listed}")
    workers = [actor for actor in json.loads(listed.read_text()) if actor["class_name"] == "_Worker"]
    assert len({worker["node_id"] for worker in workers} - {None}) == 2  # None: still starting when all was done
    _ray(site, "down", "--yes", CLUSTER)
    assert _raylets(site, "radnet-a") == 0
    deadline = time.monotonic() + 100
    while _raylets(site, "radnet-b"):  # workers leave when they miss their head
        assert time.monotonic() < deadline
        time.sleep(2)


def test_a_cluster_started_by_hand_as_the_readme_says(site, tmp_path):
    config, head = toy_config(tmp_path, num_patients=1), HOSTS["radnet-a"]
    _shell(site, "radnet-a", "ray get-auth-token --generate >/dev/null && chmod 600 ~/.ray/auth_token")
    ssh = site.folder / "bin" / "ssh"
    _shell(
        site, "radnet-a", f"{ssh} radnet-b 'umask 077; mkdir -p ~/.ray; cat > ~/.ray/auth_token' < ~/.ray/auth_token"
    )
    metrics = "--metrics-export-port=8090"
    start = f"ray start --head --port=6379 --node-ip-address={head} --dashboard-host=127.0.0.1 {metrics}"
    _shell(site, "radnet-a", start)
    _shell(site, "radnet-b", f"ray start --address={head}:6379 --node-ip-address={HOSTS['radnet-b']}")
    server = "export RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265; "
    submit = "ray job submit --working-dir . -- python launch/shard.py"
    said = _shell(site, "radnet-a", f"{server}cd {site.checkout}; {submit} {config} out={tmp_path / 'out'}")
    assert "3 series sharded" in said and (tmp_path / "out" / "index.json").is_file()
    assert "radnet_series" in _shell(site, "radnet-a", f"sleep 12; curl -s http://{head}:8090/metrics")
    job = re.search(r"raysubmit_\w+", said)[0]
    assert job in _shell(site, "radnet-a", f"{server}ray job list")
    assert "3 series sharded" in _shell(site, "radnet-a", f"{server}ray job logs --follow {job}")
    assert "train-000000" in _shell(site, "radnet-a", f"{server}ray list tasks --limit 1000")
    dashboard = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8265/api/jobs/"
    assert _shell(site, "radnet-a", dashboard) == "401"
    _shell(site, "radnet-b", dashboard.replace("127.0.0.1", head), code=7)  # refused: it is on the head's loopback
    for host in HOSTS:
        _shell(site, host, "ray stop")
        assert _raylets(site, host) == 0
