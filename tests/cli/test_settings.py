"""Settings: a flag wins over the environment, that over a file, that over the default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conveyor.errors import UsageError
from conveyor.settings import SETTINGS, load_settings


def test_each_value_comes_from_the_nearest_source(tmp_path: Path) -> None:
    (tmp_path / "conveyor.toml").write_text('drain = "1m"\nlease = 30\npoll = 2\n')
    settings = load_settings(
        {"drain": "9s", "url": None, "queues": ()},
        environment={"CONVEYOR_LEASE": "40", "CONVEYOR_DRAIN": "8s"},
        folder=tmp_path,
    )
    assert [settings[name] for name in ("drain", "lease", "poll")] == [9.0, 40.0, 2.0]
    assert settings.sources["drain"] == "the command line"
    assert settings.sources["lease"] == "the environment (CONVEYOR_LEASE)"
    assert settings.sources["poll"] == str(tmp_path / "conveyor.toml")
    assert (settings["url"], settings.sources["url"]) == ("jobs.db", "default")


def test_a_table_in_pyproject_of_a_folder_above_is_found(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.conveyor]\nqueues = ["mail:4", "images"]\n')
    inner = tmp_path / "src" / "shop"
    inner.mkdir(parents=True)
    settings = load_settings(environment={}, folder=inner)
    assert settings["queues"] == ("mail:4", "images")


def test_a_pyproject_without_our_table_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "conveyor.toml").write_text("concurrency = 7\n")
    inner = tmp_path / "shop"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[project]\nname = 'shop'\n")
    assert load_settings(environment={}, folder=inner)["concurrency"] == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("drian = 5\n", "unknown setting 'drian'; did you mean 'drain'"),
        ("drain = -1\n", "drain = -1"),
        ("concurrency = true\n", "concurrency = True"),
        ("queues = [1]\n", "must be a list of strings"),
        ("url = \n", " as TOML: "),
    ],
)
def test_a_wrong_value_names_the_file_and_what_is_wanted(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "conveyor.toml").write_text(text)
    with pytest.raises(UsageError) as refused:
        load_settings(environment={}, folder=tmp_path)
    assert said in str(refused.value)
    assert str(tmp_path / "conveyor.toml") in str(refused.value)


def test_every_setting_can_be_given_by_the_environment(tmp_path: Path) -> None:
    given = {
        f"CONVEYOR_{name.upper()}": ",".join(setting.default)
        if isinstance(setting.default, tuple)
        else str(setting.default)
        for name, setting in SETTINGS.items()
    }
    settings = load_settings(environment=given, folder=tmp_path)
    assert {name: settings[name] for name in SETTINGS} == {
        name: setting.default for name, setting in SETTINGS.items()
    }


def test_a_directory_that_was_deleted_has_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load_settings(environment={"CONVEYOR_URL": "/srv/jobs.db"})["url"] == "/srv/jobs.db"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_that_another_user_put_into_a_directory_for_all_is_ignored(
    kind: str, tmp_path: Path
) -> None:
    shared, own = tmp_path / "tmp", tmp_path / "tmp" / "own"
    own.mkdir(parents=True)
    file = shared / "conveyor.toml"
    ours = tmp_path / "ours.toml"
    ours.write_text('app = "ours:belt"\n')
    if kind == "file":
        file.write_text('app = "planted:belt"\n')
    else:
        file.symlink_to(ours)
    os.chown(file, 65534, 65534, follow_symlinks=False)

    def app() -> object:
        return load_settings(environment={}, folder=own)["app"]

    assert app()  # in a directory of our own
    shared.chmod(0o1777)
    assert app() == ""
    os.chown(file, 0, 0, follow_symlinks=False)
    assert app()


@pytest.mark.parametrize("kind", ["directory", "link to nothing"])
def test_a_configuration_that_is_no_file_is_not_ignored(folder: Path, kind: str) -> None:
    path = folder / "conveyor.toml"
    path.mkdir() if kind == "directory" else path.symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"conveyor.toml is no file, or a link that leads to none"):
        load_settings(environment={}, folder=folder)
