from __future__ import annotations

import platform
import subprocess

import numpy as np
import torch

from mtdense.reports.environment import code_revision, device_name, peak_rss_bytes, versions


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_versions():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["mtdense"]
    assert versions(("no-such-distribution",))["no-such-distribution"] is None


def test_revision_and_dirty_flag_of_a_checkout(tmp_path):
    package = tmp_path / "src" / "pkg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    assert code_revision(package) == {"revision": None, "dirty": None}
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert code_revision(package) == {"revision": head, "dirty": False}
    (package / "new.py").write_text("")
    assert code_revision(package) == {"revision": head, "dirty": True}


def test_a_package_installed_below_a_foreign_checkout_has_no_revision(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text(".venv")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "foreign")
    package = tmp_path / ".venv" / "pkg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert code_revision(package) == {"revision": None, "dirty": None}


def test_device_and_memory():
    assert device_name(torch.device("cpu")).startswith("cpu: ")
    peak = peak_rss_bytes()
    assert peak is not None
    # Torch alone needs more than 50 MiB, and no test machine has a TiB.
    assert 50 << 20 < peak < 1 << 40
