"""Where checkpoints come from: a folder, the cache, the Hub; and what happens without them."""

import json
import shutil
import socket
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from data.categories import CATEGORIES
from space.models.checkpoints import (
    CLIP_CHECKPOINT,
    REVISIONS,
    VGG16_CHECKPOINT,
    CheckpointError,
    find_checkpoint,
    load_before_refit,
    load_vgg16,
    load_zero_shot,
    save_before_refit,
)
from space.models.classifiers import Models
from space.models.engine import digest
from space.report.report import accuracy_of
from space.sorting.rule import find_rule
from tests.loopback_hub import LoopbackHub, run_with_hub

TWICE = """
import json, os
from dataclasses import asdict
from huggingface_hub import get_session
from space.models.checkpoints import find_checkpoint, load_zero_shot
found = []
for mark in ("/between", "/after"):
    weights = find_checkpoint("user/pushed") / "model.safetensors"
    found.append([asdict(load_zero_shot().identity), weights.read_text()])
    get_session().get(os.environ["HF_ENDPOINT"] + mark)
weights = find_checkpoint("user/pushed@trial") / "model.safetensors"
print(json.dumps([*found, weights.read_text()]))
"""
FIND = """
import json, time
from space.models.checkpoints import CheckpointError, find_checkpoint
found = {}
for name in ("user/none", "user/pickle"):
    start = time.monotonic()
    try:
        reason = str(find_checkpoint(name))
    except CheckpointError as error:
        reason = str(error)
    found[name] = {"reason": reason, "seconds": time.monotonic() - start}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def fetched(
    small_clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list, dict[str, dict], list[str]]:
    """What TWICE and FIND print beside a Hub that has CLIP, and what they asked it for.

    Between the two times, another model is pushed to the Hub.
    """
    home = tmp_path_factory.mktemp("home")
    pickles = home / "pickles"
    pickles.mkdir()
    (pickles / "config.json").write_text("{}")
    (pickles / "pytorch_model.bin").write_text("never to be loaded")
    converted = shutil.copytree(small_clip, home / "converted")
    shutil.copy(pickles / "pytorch_model.bin", converted)
    commit = REVISIONS[CLIP_CHECKPOINT]
    repository = f"models/{CLIP_CHECKPOINT}"
    folders = {f"{repository}@main": pickles, f"{repository}@{commit}": converted}
    with LoopbackHub(folders | {"models/user/pickle@main": pickles}) as hub:

        def push(content: bytes, revision: str = "main") -> None:
            hub.keep("models/user/pushed", revision, {"model.safetensors": content})

        push(b"first")
        push(b"tried", "trial")
        hub.then["/between"] = partial(push, b"second")
        printed = run_with_hub(TWICE + FIND, hub.url, home).splitlines()
    twice, found = map(json.loads, printed[-2:])
    return twice, found, hub.asked


def test_clip_is_fetched_from_the_commit_that_holds_safetensors(
    fetched: tuple[list, dict, list[str]], small_clip: Path
) -> None:
    ((first, _), (second, _), _), _, asked = fetched
    assert (first["name"], first["weights"]) == ("CLIP", digest(small_clip))
    assert not any("pytorch_model" in path for path in asked)
    # What is in the cache is not fetched again.
    assert second == first
    clip = [path for path in asked[asked.index("/between") :] if CLIP_CHECKPOINT in path]
    assert clip and all(path.startswith("/api/") for path in clip)


def test_what_was_pushed_since_is_seen(fetched: tuple[list, dict, list[str]]) -> None:
    ((_, first), (_, second), tried), _, _ = fetched
    assert (first, second, tried) == ("first", "second", "tried")


def test_hub_that_never_answers_costs_three_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = json.loads(run_with_hub(FIND, url, tmp_path).splitlines()[-1])
    for answer in found.values():
        assert "did not answer within 2 s" in answer["reason"]
        assert answer["seconds"] < 3


def test_hub_without_the_repository_or_without_safetensors_is_named(
    fetched: tuple[list, dict[str, dict], list[str]],
) -> None:
    _, found, _ = fetched
    assert "has no such repository" in found["user/none"]["reason"]
    assert "no weights in the safetensors format" in found["user/pickle"]["reason"]


def test_folder_is_used_as_it_is(small_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZERO_SHOT_MODEL", str(small_clip))
    identity = load_zero_shot().identity
    assert identity.name == "CLIP" and not identity.stands_in
    # The page names the folder, not the place on the server.
    assert identity.checkpoint == small_clip.name
    assert identity.bytes == (small_clip / "model.safetensors").stat().st_size


def test_without_clip_the_bundled_model_stands_in_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZERO_SHOT_MODEL", "user/name")
    identity = load_zero_shot().identity
    assert identity.name == "ConSE"
    assert identity.stands_in.startswith("user/name is not in the cache")


def test_folder_that_is_no_clip_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZERO_SHOT_MODEL", str(tmp_path))
    assert "is not a CLIP checkpoint" in load_zero_shot().identity.stands_in


@pytest.mark.parametrize("name", ["user/name", "no/such/folder"])
def test_missing_vgg16_ends_in_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGG16_MODEL", name)
    with pytest.raises(CheckpointError, match=f"^{name} is not in the cache, and"):
        load_vgg16()


def test_find_checkpoint_takes_a_folder(tmp_path: Path) -> None:
    assert find_checkpoint(str(tmp_path)) == tmp_path


def test_same_weights_are_the_same_model_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Models
) -> None:
    """A folder and the Hub's cache, which names a checkpoint by its commit."""
    cached = tmp_path / "models--user--vgg16"
    shutil.copytree(VGG16_CHECKPOINT, cached / "snapshots" / ("a" * 40))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    both = [load_vgg16(), load_vgg16("user/vgg16")]
    assert [model.identity.checkpoint for model in both] == ["vgg16", "user/vgg16"]
    assert both[0].identity.weights == both[1].identity.weights
    assert accuracy_of(both[0]) == accuracy_of(both[1]) is not None
    rules = [find_rule(0.99, models._replace(vgg16=model)) for model in both]
    assert rules[0] == rules[1]


def test_logits_of_before_the_refit_of_other_weights_are_not_believed(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    save_before_refit(tmp_path, np.zeros((1, 7)), ["0" * 64], CATEGORIES)
    assert load_before_refit(tmp_path)[1] == CATEGORIES
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert load_before_refit(tmp_path) == ({}, [])
