"""Puts contracts/ and dbt_project/ into the wheel, as lockgate/_project/. Everything else about the build is in pyproject.toml.

People edit the two folders, so they stand beside the packages and are none. An installed Lockgate still has to find them from
any working folder (`lockgate.settings.shipped`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("contracts", "dbt_project")
MADE_BY_DBT = {"target", "logs"}
SUFFIXES = {".sql", ".yml", ".md", ".csv"}


def files() -> Iterator[Path]:
    """What belongs into the wheel, relative to the checkout."""
    for folder in FOLDERS:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and path.suffix in SUFFIXES and not MADE_BY_DBT & set(path.parts):
                yield path


class BuildWithFolders(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # then the checkout's own folders are used
        for path in files():
            target = self._target(path)
            self.mkpath(str(target.parent))
            self.copy_file(str(path), str(target))

    def _target(self, path: Path) -> Path:
        return Path(self.build_lib) / "lockgate" / "_project" / path

    def get_source_files(self) -> list[str]:
        """Makes them part of a source distribution, too: wheels are built from one."""
        return [*super().get_source_files(), *map(str, files())]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        made = [] if self.editable_mode else [str(self._target(path)) for path in files()]
        return [*super().get_outputs(include_bytecode), *made]


setup(cmdclass={"build_py": BuildWithFolders})
