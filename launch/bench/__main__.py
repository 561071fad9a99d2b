"""`python launch/bench NAME` is `radnet bench NAME`."""

from radnet.launch import bench
from radnet.launch.cli import run

run(bench.main)
