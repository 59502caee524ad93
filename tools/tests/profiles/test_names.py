# SPDX-License-Identifier: GPL-2.0-only
"""Names of shipped profiles, which can be used in any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from vfio_compliance.common.project import PROFILES
from vfio_compliance.profiles import ProfileError, load, shipped
from vfio_compliance.sections import PROFILE


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_names() -> None:
    """Each profile of a device has one, even an example; and each can be loaded."""
    assert {"reference", "refdriver-kernel", "qemu-edu", "python"} <= shipped.profiles().keys()
    assert "template" not in shipped.profiles()
    for name, path in shipped.profiles().items():
        assert load(shipped.file_of(name), PROFILE).path == path
        assert shipped.called(path) == name


def test_names_are_unique() -> None:
    """Across both folders."""
    files = [*PROFILES.glob("*.yaml"), *PROFILES.glob("examples/*.yaml")]
    assert len({file.stem for file in files}) == len(files)


@pytest.mark.parametrize("path", ["profiles/mine.yaml", "mine.yaml", "/mine", "", ".", "a/b"])
def test_path(path: str) -> None:
    """A word that looks like a path is one, even if there is no such file."""
    assert str(shipped.file_of(path)) in (path, ".")


@pytest.mark.parametrize("path", ["profiles/reference.yaml", "reference.yaml", "profiles/examples/python.yaml"])
def test_path_of_a_checkout(path: str) -> None:
    """A reader of the README may write one without a checkout; the message suggests the name."""
    name = path.rpartition("/")[2].removesuffix(".yaml")
    with pytest.raises(ProfileError, match=f"there is no file `{path}`; did you mean `{name}`?"):
        shipped.file_of(path)


def test_file_of_that_name(elsewhere: Path) -> None:
    """A file takes precedence, even a broken link; a folder does not."""
    (elsewhere / "reference").symlink_to("nowhere")
    assert str(shipped.file_of("reference")) == "reference"
    (elsewhere / "reference").unlink()
    (elsewhere / "reference").mkdir()
    assert shipped.file_of("reference") == PROFILES / "reference.yaml"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("refrence", "did you mean `reference`?"),
        ("REFERENCE", "did you mean `reference`?"),
        ("nothing-like-it", "there is no file `nothing-like-it`, and no profile of that name is shipped; there are "),
        ("\x1b[31mred", r"there is no file `\x1b[31mred`"),
        ("a\nb", r"there is no file `a\nb`"),
        ("template", "there is no file `template`"),
        ("x" * 100_000, "xxx...`, and no profile of that name is shipped"),
        ("nul\0", r"there is no file `nul\x00`"),
    ],
    ids=lambda text: repr(text)[:30],
)
def test_unknown_name(word: str, message: str) -> None:
    """The message lists the names and suggests one, in one line without control characters."""
    with pytest.raises(ProfileError) as caught:
        shipped.file_of(word)
    assert message in str(caught.value)
    assert "qemu-edu, refdriver-kernel, reference, " in str(caught.value)
    assert str(caught.value).isprintable()


def test_other_files_keep_their_path(elsewhere: Path) -> None:
    """A user's file is called by its path, even if its name is that of a shipped one."""
    assert shipped.called(elsewhere / "reference.yaml") == str(elsewhere / "reference.yaml")
    assert shipped.called(PROFILES / "template.yaml") == str(PROFILES / "template.yaml")
