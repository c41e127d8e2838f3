"""`ray_cluster.yaml`, offline: Ray's schema and checks, shell syntax, and names that others use, as docs/cluster.md."""

import copy
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import mlflow.cli
import pytest
import ray.scripts.scripts
import yaml
from ray._private.label_utils import validate_label_key, validate_label_value
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.conftest import ROOT

Config = dict[str, Any]

PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


@pytest.fixture
def config() -> Config:
    return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text(encoding="utf-8"))


def all_commands(config: Config) -> Iterator[str]:
    for key, value in config.items():
        if key.endswith("_commands"):
            yield from value


def arguments_of(config: Config, *command: str) -> list[str]:
    """The words after this command, which must occur once in the file."""
    occurrences = []
    for line in all_commands(config):
        words = shlex.split(line, comments=True)
        for i in range(len(words)):
            if tuple(words[i : i + len(command)]) == command:
                occurrences.append(words[i + len(command) :])
    (arguments,) = occurrences
    return arguments


def options_of(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}


def used_options(arguments: list[str]) -> set[str]:
    return {word.split("=")[0] for word in arguments if word.startswith("--")}


def test_ray_accepts_the_file(config: Config) -> None:
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    assert set(prepared["available_node_types"]) == set(config["available_node_types"])  # Ray added no default type


@pytest.mark.parametrize("broken", ["labels", "head_node_type", "schema"])
def test_rays_check_sees_a_mistake(config: Config, broken: str) -> None:
    match broken:
        case "labels":
            config["available_node_types"]["gpu-1"]["labels"] = {"node": 1}
        case "head_node_type":
            config["head_node_type"] = "absent"
        case "schema":
            config["setup_comands"] = []
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        validate_config(prepare_config(config))


def test_the_head_loads_no_models_and_one_gpu_node_is_always_up(config: Config) -> None:
    node_types = config["available_node_types"]
    head = node_types.pop(config["head_node_type"])
    assert head["resources"]["CPU"] == 0 and "GPU" not in head["resources"]
    workers = list(node_types.values())
    assert sorted(worker["resources"]["GPU"] for worker in workers) == [1, 8]
    assert any(worker["min_workers"] for worker in workers)
    assert sum(worker["max_workers"] for worker in workers) <= config["max_workers"]


def test_labels_are_valid_and_distinguish_the_node_types(config: Config) -> None:
    labels = [node_type["labels"] for node_type in config["available_node_types"].values()]
    for name, value in (item for each in labels for item in each.items()):
        assert validate_label_key(name) is None
        validate_label_value(value)
    assert len({tuple(each.items()) for each in labels}) == len(labels)


def test_every_command_parses(config: Config) -> None:
    commands = list(all_commands(config))
    assert len(commands) >= 10
    for command in commands:
        check = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True)
        assert (check.returncode, check.stderr) == (0, ""), command


def test_a_shell_can_read_the_environment_file(config: Config, tmp_path: Path) -> None:
    (write,) = (command for command in config["setup_commands"] if "cat > ~/halfwave.env" in command)
    script = f"{write}\n. ~/halfwave.env\necho $RAY_AUTH_MODE $RAY_USAGE_STATS_ENABLED $HF_HOME"
    shell = subprocess.run(
        ["bash", "-c", script], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert shell.stdout.split() == ["token", "0", "/mnt/halfwave/huggingface"], shell.stderr


def test_the_extras_that_it_installs_exist(config: Config) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (names,) = (match[1] for command in config["setup_commands"] if (match := re.search(r"'\.\[(.*)\]'", command)))
    assert "cuda" in names.split(",") and set(names.split(",")) <= set(extras)


def test_mlflow_and_ray_know_the_options(config: Config) -> None:
    server = used_options(arguments_of(config, "mlflow", "server"))
    assert {"--host", "--allowed-hosts"} <= server <= options_of(mlflow.cli.cli.commands["server"])
    start = options_of(ray.scripts.scripts.start)
    head = used_options(arguments_of(config, "ray", "start", "--head")) | {"--head"}
    assert {"--head", "--dashboard-host"} < head <= start
    assert used_options(arguments_of(config, "ray", "start", "--address=$RAY_HEAD_IP:6379")) <= start


def test_dashboard_and_mlflow_listen_on_localhost_only(config: Config) -> None:
    assert "--dashboard-host=127.0.0.1" in arguments_of(config, "ray", "start", "--head")
    server = arguments_of(config, "mlflow", "server")
    assert server[server.index("--host") + 1] == "127.0.0.1"
    allowed = server[server.index("--allowed-hosts") + 1].split(",")
    assert all(host.split(":")[0] in ("localhost", "127.0.0.1") for host in allowed)


def test_the_labels_and_node_types_in_the_documentation_exist(config: Config) -> None:
    used = re.findall(r"labels: \{(\w+): ([\w-]+)\}", PAGE) + re.findall(r"--labels (\w+)=([\w-]+)", PAGE)
    labels = {item for node_type in config["available_node_types"].values() for item in node_type["labels"].items()}
    assert len(used) >= 3 and set(used) <= labels
    assert "ray up ray_cluster.yaml" in PAGE


def test_the_batch_script_in_the_documentation_parses() -> None:
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", PAGE, re.S)
    check = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (check.returncode, check.stderr) == (0, "")
    start = options_of(ray.scripts.scripts.start)
    starts = [
        line.split("ray start ", 1)[1] for line in script.replace("\\\n", " ").splitlines() if "ray start" in line
    ]
    assert len(starts) == 2
    for line in starts:
        assert used_options(line.split()) <= start
