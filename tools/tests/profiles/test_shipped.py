# SPDX-License-Identifier: GPL-2.0-only
"""The shipped profiles, and the published schemas."""

from __future__ import annotations

import dataclasses
import datetime
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from vfio_compliance.cli.schema import SCHEMAS
from vfio_compliance.profiles import ProfileError, document, load, plan, schema, waiver_files
from vfio_compliance.profiles.profile import Profile
from vfio_compliance.sections import PROFILE

FOLDER = Path(__file__).parents[3] / "profiles"
SHIPPED = sorted(FOLDER.glob("*.yaml"))
WORDS = r"""
    : - # [ ] { } , ' " | & > * ! % @ ` \ ~ ? = <<: --- ... &a *a !!int "\UFFFFFFFF" "\ud800" é null yes 0 -1 010
    1e9 10:30 0x 64KB 5s 2026-13-45 $iova $x stop->stop read write region
"""
JUNK = [
    *WORDS.split(),
    *("", " ", "\n", "\t", "- ", ": ", "---\n", "%YAML 9.9\n", "9" * 400),
    *("\x00", "\x1b", "\x85", "\ufeff", "\u2028", "\ud800"),
]


@pytest.fixture(scope="module")
def validator() -> Any:
    published = json.loads((FOLDER / "profile.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(published)
    return jsonschema.Draft7Validator(published)


def without_comments(path: Path) -> str:
    """A shipped profile without comments, so that each change to it matters."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return "\n".join(line for line in lines if line.partition("#")[0].strip()) + "\n"


def as_json(text: str) -> Any:
    """A profile as an editor's schema check sees it: in YAML 1.2, a date is text."""
    return json.loads(json.dumps(yaml.load(text, document._LOADER), default=datetime.date.isoformat))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_published_schemas_are_current(name: str) -> None:
    published = (FOLDER / name).read_text(encoding="utf-8")
    assert published == schema.text(*SCHEMAS[name]), "renew it: python -m vfio_compliance.cli.schema"


def test_there_is_no_other_schema() -> None:
    assert {path.name for path in FOLDER.glob("*.schema.json")} == set(SCHEMAS)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        *(("plan.schema.json", path) for path in sorted(FOLDER.glob("plans/*.yaml"))),
        *(("waivers.schema.json", path) for path in sorted(FOLDER.glob("waivers/*.yaml"))),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_shipped_plan_or_list_of_waivers_fits_its_schema(name: str, path: Path) -> None:
    published = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(published)
    assert [error.message for error in validator.iter_errors(as_json(path.read_text(encoding="utf-8")))] == []
    assert (plan.load(path).source if name.startswith("plan") else waiver_files.load(path).source).digest


def test_the_example_of_waivers_is_valid(tmp_path: Path) -> None:
    """The example in the template's comments has every key."""
    text = (FOLDER / "waivers" / "template.yaml").read_text(encoding="utf-8")
    head, example = text.split("waivers: []\n")
    path = tmp_path / "w.yaml"
    path.write_text(head + "\n".join(line.removeprefix("# ") for line in example.splitlines()), encoding="utf-8")
    (found,) = waiver_files.load(path).waivers
    assert all(getattr(found, each.name) is not None for each in dataclasses.fields(found))


def test_the_template_is_shipped() -> None:
    assert FOLDER / "template.yaml" in SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_profile_loads_and_fits_the_schema(path: Path, validator: Any) -> None:
    assert load(path, PROFILE).format == 1
    assert [error.message for error in validator.iter_errors(as_json(path.read_text(encoding="utf-8")))] == []


def test_the_template_mentions_every_key() -> None:
    template = (FOLDER / "template.yaml").read_text(encoding="utf-8")

    def keys(part: Any) -> set[str]:
        if isinstance(part, list):
            return set().union(*map(keys, part))
        if not isinstance(part, dict):
            return set()
        return set(part.get("properties", {})).union(*map(keys, part.values()))

    known = keys(json.loads(schema.text(PROFILE, "")))
    assert {"precopy_data", "changes_within", "parameter", "within", "recovery"} <= known
    assert {key for key in known if f"{key}:" not in template} == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format: 1", "format: 2"),
        ("name: my-device", "nmae: my-device"),
        ("transport: kernel-group", "transport: vfio-user"),
        ("data_section: trapped", "data_section: tapped"),
        ("transitions: []", "transitions: [running -> stop]"),
        ("call: 5s", "call: 5"),
        ("largest_state: 1GiB", "largest_state: 1GB"),
        ("width: 8", "width: 3"),
        ("{read: {region", "{raed: {region"),
        ("  sysfs:", "  group: 1\n  sysfs:"),
        ("  sysfs:", "  # sysfs:"),
        ("waivers: []", "waivers: [{rule: v1.a}]"),
        ("skip: []", "skip: [{case: a}]"),
        ("error: none", "error: no"),
        ("error: none", "error: [{map: data_section}]"),
        ("skip: []", "setup: {after_open: [{map: data}]}"),
        ("skip: []", "setup: {after_open: none}"),
    ],
)
def test_the_schema_refuses_what_loading_refuses(old: str, new: str, validator: Any, tmp_path: Path) -> None:
    template = without_comments(FOLDER / "template.yaml")
    head, found, tail = template.partition(f"\n{old}" if f"\n{old}" in template else old)
    text = head + found.replace(old, new) + tail
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    assert found
    assert not validator.is_valid(as_json(text))
    with pytest.raises(ProfileError):
        load(path, PROFILE)


def removals(part: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any], str]]:
    """Each key of a tree: its dotted path, the mapping that has it, and its name."""
    for name, value in list(part.items() if isinstance(part, dict) else enumerate(part)):
        if isinstance(part, dict):
            yield f"{path}{name}", part, name
        if isinstance(value, (dict, list)):
            yield from removals(value, f"{path}{name}.")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_optional_keys_may_be_left_out(path: Path, validator: Any, tmp_path: Path) -> None:
    """Each key may be left out, except those that name the device and the interfaces."""
    tree = as_json(path.read_text(encoding="utf-8"))
    needed = set()
    for dotted, holder, name in list(removals(tree)):
        value = holder.pop(name)
        (tmp_path / "p.yaml").write_text(json.dumps(tree), encoding="utf-8")
        try:
            load(tmp_path / "p.yaml", PROFILE)
        except ProfileError:
            needed.add(dotted)
        else:
            assert validator.is_valid(tree), dotted
        holder[name] = value
    assert {dotted for dotted in needed if "." not in dotted} == {"format", "name", "interfaces", "device"}
    assert not any(dotted.startswith(("limits", "claims")) for dotted in needed)


def mutate(text: str, rng: random.Random) -> str:
    """A text with a few random changes: characters, words, lines, indentation."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at, lines = rng.randrange(len(text) + 1), text.split("\n")
        line = rng.randrange(len(lines))
        change = rng.randrange(7)
        if change == 0:
            text = text[:at] + rng.choice(JUNK) + text[at:]
        elif change == 1:
            text = text[:at] + text[at + rng.randrange(1, 4) :]
        elif change == 2:
            text = text[:at]
        elif change == 3:
            lines[line] = rng.choice(lines)
            text = "\n".join(lines)
        elif change == 4:
            del lines[line]
            text = "\n".join(lines)
        elif change == 5:
            lines[line] = " " * rng.randrange(1, 5) + lines[line]
            text = "\n".join(lines)
        else:
            words = text.split(" ")
            words[rng.randrange(len(words))] = rng.choice([*JUNK, *words])
            text = " ".join(words)
    return text


def judged(path: Path, text: str, validator: Any) -> Profile | None:
    """Loads a mutant: it fits the schema, or each of its problems has a message and a place in the file."""
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        profile = load(path, PROFILE)
    except ProfileError as refusal:
        problems = refusal.problems
    else:
        assert [error.message for error in validator.iter_errors(as_json(text))] == []
        return profile
    assert problems
    assert problems == sorted(problems, key=lambda problem: problem.place)
    for problem in problems:
        assert problem.message
        assert 1 <= problem.place.line <= len(text.splitlines()) + 1
        assert problem.place.column >= 1
        assert str(problem).isprintable()
    return None


@pytest.mark.parametrize(("parser", "mutants"), [("CSafeLoader", 300), ("SafeLoader", 60)])
def test_no_mutant_of_a_shipped_profile_crashes_the_loader(
    parser: str, mutants: int, validator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(yaml, parser):
        pytest.skip("PyYAML is built without libyaml")
    monkeypatch.setattr(document, "_LOADER", getattr(yaml, parser))
    texts = [without_comments(path) for path in SHIPPED]
    rng = random.Random(20200519)
    outcomes = [judged(tmp_path / "p.yaml", mutate(rng.choice(texts), rng), validator) for _ in range(mutants)]
    refused = outcomes.count(None)
    assert mutants // 4 < refused < mutants
