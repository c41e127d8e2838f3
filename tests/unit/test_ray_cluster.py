"""`ray_cluster.yaml`, offline: Ray's schema and checks, the shell's grammar, the names that it shares with others."""

import copy
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator

import click
import jsonschema
import mlflow.cli
import pytest
import ray.scripts.scripts
import yaml
from ray._private.label_utils import validate_label_key, validate_label_value
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def config() -> dict:
    return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text(encoding="utf-8"))


def all_commands(config: dict) -> Iterator[str]:
    for key, value in config.items():
        if key.endswith("_commands"):
            yield from value


def words(config: dict, *first: str) -> list[str]:
    """The words that follow these in the one command that holds them."""
    found = []
    for command in all_commands(config):
        split = shlex.split(command, comments=True)
        for i in range(len(split)):
            if tuple(split[i : i + len(first)]) == first:
                found.append(split[i + len(first) :])
    (only,) = found
    return only


def options_of(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}


def used_options(following: list[str]) -> set[str]:
    return {word.split("=")[0] for word in following if word.startswith("--")}


def test_ray_accepts_it(config):
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    assert set(prepared["available_node_types"]) == set(config["available_node_types"])  # no default has crept in


@pytest.mark.parametrize("broken", ["labels", "head_node_type", "schema"])
def test_rays_check_sees_a_mistake(config, broken):
    match broken:
        case "labels":
            config["available_node_types"]["gpu-1"]["labels"] = {"node": 1}
        case "head_node_type":
            config["head_node_type"] = "absent"
        case "schema":
            config["setup_comands"] = []
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        validate_config(prepare_config(config))


def test_the_head_loads_no_models_and_a_gpu_is_there_when_a_study_begins(config):
    kinds = config["available_node_types"]
    head = kinds.pop(config["head_node_type"])
    assert head["resources"]["CPU"] == 0 and "GPU" not in head["resources"]
    assert sorted(kind["resources"]["GPU"] for kind in kinds.values()) == [1, 8]
    assert any(kind["min_workers"] for kind in kinds.values())
    assert sum(kind["max_workers"] for kind in kinds.values()) <= config["max_workers"]


def test_labels_are_spelt_as_ray_takes_them_and_tell_the_kinds_apart(config):
    labels = [kind["labels"] for kind in config["available_node_types"].values()]
    for name, value in (item for one in labels for item in one.items()):
        assert validate_label_key(name) is None
        validate_label_value(value)
    assert len({tuple(one.items()) for one in labels}) == len(labels)


def test_every_command_parses(config):
    commands = list(all_commands(config))
    assert len(commands) >= 10
    for command in commands:
        done = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), command


def test_the_environment_file_is_one_that_a_shell_reads(config, tmp_path):
    (write,) = (command for command in config["setup_commands"] if "cat > ~/halfwave.env" in command)
    script = f"{write}\n. ~/halfwave.env\necho $RAY_AUTH_MODE $RAY_USAGE_STATS_ENABLED $HF_HOME"
    done = subprocess.run(
        ["bash", "-c", script], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["token", "0", "/mnt/halfwave/huggingface"], done.stderr


def test_it_installs_extras_that_there_are(config):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = (found for command in config["setup_commands"] if (found := re.findall(r"'\.\[(.*)\]'", command)))
    assert "cuda" in asked[0].split(",") and set(asked[0].split(",")) <= set(extras)


def test_mlflow_and_ray_know_the_options(config):
    server = used_options(words(config, "mlflow", "server"))
    assert {"--host", "--allowed-hosts"} <= server <= options_of(mlflow.cli.cli.commands["server"])
    start = options_of(ray.scripts.scripts.start)
    assert {"--head", "--dashboard-host"} < used_options(words(config, "ray", "start", "--head")) | {"--head"} <= start
    assert used_options(words(config, "ray", "start", "--address=$RAY_HEAD_IP:6379")) <= start


def test_dashboard_and_mlflow_listen_on_this_machine_alone(config):
    assert "--dashboard-host=127.0.0.1" in words(config, "ray", "start", "--head")
    server = words(config, "mlflow", "server")
    assert server[server.index("--host") + 1] == "127.0.0.1"
    assert all(host.split(":")[0] in ("localhost", "127.0.0.1") for host in
               server[server.index("--allowed-hosts") + 1].split(","))  # fmt: skip


def test_the_readme_uses_labels_and_node_types_that_there_are(config):
    section = README.split("\n## On a cluster\n")[1].split("\n## ")[0]
    used = re.findall(r"labels: \{(\w+): ([\w-]+)\}", section) + re.findall(r"--labels (\w+)=([\w-]+)", section)
    there = {item for kind in config["available_node_types"].values() for item in kind["labels"].items()}
    assert len(used) >= 3 and set(used) <= there
    assert "ray up ray_cluster.yaml" in section


def test_the_readmes_batch_script_parses():
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", README, re.S)
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    start = options_of(ray.scripts.scripts.start)
    starts = [
        line.split("ray start ", 1)[1] for line in script.replace("\\\n", " ").splitlines() if "ray start" in line
    ]
    assert len(starts) == 2
    for line in starts:
        assert used_options(line.split()) <= start
