"""A git repository whose own configuration names a program wherever git has a place for one."""

import os
import stat
import subprocess
from pathlib import Path

HOOKS = "post-index-change fsmonitor-watchman reference-transaction post-checkout pre-commit query-watchman"
KEYS = """
    core.fsmonitor core.sshCommand core.pager core.editor core.askPass core.gitProxy core.alternateRefsCommand
    diff.external diff.x.command diff.x.textconv merge.x.driver filter.x.clean filter.x.smudge gpg.program
    interactive.diffFilter sequence.editor uploadpack.packObjectsHook remote.origin.uploadpack remote.origin.vcs
    pager.ls-files pager.ls-tree pager.rev-parse browser.x.cmd trailer.x.command
"""
SHELL_KEYS = "alias.ls-files alias.ls-tree alias.rev-parse alias.describe credential.helper submodule.x.update"
OTHERS = {
    "core.repositoryformatversion": "1",
    "extensions.partialClone": "origin",
    "remote.origin.promisor": "true",
    "protocol.ext.allow": "always",
    "log.showSignature": "true",
    "filter.x.required": "true",
    "core.untrackedCache": "true",
}


def commit(folder: Path) -> None:
    """Make the folder a repository, and commit all of it."""
    git(folder, "init", "-q")
    (folder / ".gitattributes").write_text("* filter=x diff=x merge=x\n")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-q", "-m", "x")


def make_hostile(folder: Path, marker: Path) -> None:
    """From now on whatever git runs for this repository creates `marker`."""
    program = marker.with_name(f"{marker.name}-program")
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {marker}\ncat\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    hooks = marker.with_name(f"{marker.name}-hooks")
    hooks.mkdir()
    for hook in HOOKS.split():
        (hooks / hook).symlink_to(program)
        (folder / ".git" / "hooks").mkdir(exist_ok=True)
        (folder / ".git" / "hooks" / hook).symlink_to(program)
    settings = dict.fromkeys(KEYS.split(), str(program)) | dict.fromkeys(SHELL_KEYS.split(), f"!{program}")
    settings |= OTHERS | {"core.hooksPath": str(hooks), "remote.origin.url": f"ext::{program}"}
    with (folder / ".git" / "config").open("a") as config:
        for name, value in settings.items():
            section, _, key = name.rpartition(".")
            head, _, tail = section.partition(".")
            config.write(f'[{head} "{tail}"]\n' if tail else f"[{head}]\n")
            config.write(f'\t{key} = "{value}"\n')
    for file in folder.rglob("*"):
        if ".git" not in file.parts and file.is_file():
            os.utime(file)  # git looks at the content again


def git(folder: Path, *command: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", "-C", str(folder), *command], capture_output=True, env=environment, check=True)
