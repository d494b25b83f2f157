"""Publishing through the real huggingface_hub client to a Hub on the loopback address, and back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, ModelCard
from transformers import pipeline

from data.categories import CATEGORIES
from data.labelled import SAMPLE, load_photos
from space.models.checkpoints import VGG16_CHECKPOINT
from space.models.engine import digest
from tests.conftest import ROOT
from tests.loopback_hub import (
    READ_TOKEN,
    WRITE_TOKEN,
    LoopbackHub,
    digests,
    run_with_hub,
    with_hub,
)
from training.publish import PublishError, publish_model

PHOTO = next((SAMPLE / "watches").iterdir())
FETCH = f"""
import json, os
os.environ["VGG16_MODEL"] = "user/name"
from transformers import pipeline
from space.models.checkpoints import load_vgg16
from space.models.engine import load_quantised
model = load_vgg16()
answer = pipeline("image-classification", model="user/name", device="cpu")({str(PHOTO)!r}, top_k=7)
identity = [model.identity.checkpoint, model.identity.weights]
print(json.dumps([answer, identity, load_quantised(model.folder) is not None]))
"""
LOAD = """
import json
from datasets import load_dataset
from data.labelled import load_photos
from tests.loopback_hub import digests
published, again = load_dataset("user/name"), load_photos("user/name")
names = published["train"].features["label"].names
found = [{split: digests(rows) for split, rows in photos.items()} for photos in (published, again)]
print(json.dumps([names, *found]))
"""
REFUSED = """
import json, os, runpy, sys
sys.argv = ["publish.py", "model", "user/name", "--folder", "space/vgg16"]
said = {}
for token in json.loads(os.environ["TOKENS"]):
    os.environ["HF_TOKEN"] = token
    try:
        runpy.run_path("training/publish.py", run_name="__main__")
    except SystemExit as stop:
        said[token] = stop.code
print(json.dumps(said))
"""
# The client waits between its attempts, half a minute in all.
IMPATIENT = """
import runpy, time
time.sleep = lambda seconds: None
runpy.run_path("training/publish.py", run_name="__main__")
"""


def run_script(*command: str, url: str, home: Path) -> subprocess.CompletedProcess:
    """Run one of the repository's scripts with a Hub and a token that may write."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=with_hub(url, home, WRITE_TOKEN),
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def model_hub(tmp_path_factory: pytest.TempPathFactory) -> LoopbackHub:
    """A Hub to which the bundled checkpoint was published, privately."""
    command = ["training/publish.py", "model", "user/name", "--folder", "space/vgg16", "--private"]
    with LoopbackHub({}) as hub:
        run = run_script(*command, url=hub.url, home=tmp_path_factory.mktemp("home"))
        assert run.returncode == 0, run.stderr
        yield hub


def test_published_model_is_the_folders(model_hub: LoopbackHub, tmp_path: Path) -> None:
    """In a pipeline and in the demo, where its 8-bit integers came along."""
    printed = run_with_hub(FETCH, model_hub.url, tmp_path).splitlines()[-1]
    answer, identity, quantised = json.loads(printed)
    local = pipeline("image-classification", model=str(VGG16_CHECKPOINT), device="cpu")
    expected = local(str(PHOTO), top_k=7)
    assert [row["label"] for row in answer] == [row["label"] for row in expected]
    assert [row["score"] for row in answer] == pytest.approx([row["score"] for row in expected])
    assert identity == ["user/name", digest(VGG16_CHECKPOINT)] and quantised


def test_model_is_one_commit_with_a_card(model_hub: LoopbackHub) -> None:
    assert len(model_hub.commits) == 1
    assert model_hub.private["models/user/name"]
    files = model_hub.files("models/user/name")
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= set(files)
    card = ModelCard(files["README.md"].decode())
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.library_name == "transformers"
    assert card.data.eval_results[0].metric_type == "accuracy"
    assert 'model="user/name"' in card.text


def test_repository_that_exists_holds_what_the_folder_does(tmp_path: Path) -> None:
    """What an earlier model left there is gone: it would be believed of this one."""
    (tmp_path / "model.safetensors").write_bytes(b"new")
    (tmp_path / "config.json").write_text("{}")
    command = ["training/publish.py", "model", "user/name", "--folder", str(tmp_path)]
    with LoopbackHub({"models/user/name@main": VGG16_CHECKPOINT}) as hub:
        assert run_script(*command, url=hub.url, home=tmp_path).returncode == 0
        assert len(hub.commits) == 1
        published = {"model.safetensors": b"new", "config.json": b"{}"}
        assert hub.files("models/user/name") == published

        branch = run_script(*command, "--revision", "trial", url=hub.url, home=tmp_path)
        assert branch.returncode == 0, branch.stderr
        assert hub.files("models/user/name", "trial") == published


def test_data_set_is_loaded_as_it_was_published(tmp_path: Path) -> None:
    with LoopbackHub({}) as hub:
        run = run_script("training/publish.py", "photos", "user/name", url=hub.url, home=tmp_path)
        assert run.returncode == 0, run.stderr
        names, found, again = json.loads(run_with_hub(LOAD, hub.url, tmp_path).splitlines()[-1])
        card = DatasetCard(hub.files("datasets/user/name")["README.md"].decode())
        assert len(hub.commits) == 1
    assert names == CATEGORIES
    expected = {split: digests(rows) for split, rows in load_photos().items()}
    assert found == expected
    # The loader splits anew, by content: the same photos are in each split.
    assert again.keys() == expected.keys() and again == expected
    assert card.data.license == "mit" and "render" in card.text
    assert card.data.dataset_info["features"][0]["name"] == "image"


def test_other_photos_get_a_card_of_their_own(tmp_path: Path) -> None:
    command = ["training/publish.py", "photos", "user/name", "--dataset", str(SAMPLE)]
    with LoopbackHub({}) as hub:
        run = run_script(*command, url=hub.url, home=tmp_path)
        assert run.returncode == 0, run.stderr
        card = DatasetCard(hub.files("datasets/user/name")["README.md"].decode())
    assert card.data.license == "unknown" and "98 photos in 7 categories" in card.text


def test_space_is_the_repository_without_its_tests_and_what_lies_about(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone: git does not say what belongs to the demo")
    private = ROOT / "data" / "secrets.env"
    private.write_text("PASSWORD=1")
    try:
        with LoopbackHub({}) as hub:
            run = run_script("training/publish.py", "demo", "user/name", url=hub.url, home=tmp_path)
            assert run.returncode == 0, run.stderr
            files = hub.files("spaces/user/name")
    finally:
        private.unlink()
    assert "data/secrets.env" not in files and set(files) <= set(run.stdout.splitlines())
    assert {"app.py", "requirements.txt", "README.md", "space/vgg16/model.safetensors"} <= set(
        files
    )
    assert all(content == (ROOT / file).read_bytes() for file, content in files.items())
    assert not any("__pycache__" in file or file.startswith(("tests/", ".")) for file in files)


def test_token_that_does_not_do_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = {
        "": "There is no token of the Hub here; log in with `hf auth login`.",
        "hf_of_nobody": "the Hub does not know the token",
        READ_TOKEN: "the token may not write there",
    }
    monkeypatch.setenv("TOKENS", json.dumps(list(reasons)))
    with LoopbackHub({}) as hub:
        said = json.loads(run_with_hub(REFUSED, hub.url, tmp_path).splitlines()[-1])
    for token, reason in reasons.items():
        assert reason in said[token] and "\n" not in said[token]
        assert not token or token not in said[token]


def test_connection_lost_halfway_publishes_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(10**7))
    command = ["-c", IMPATIENT, "model", "user/name", "--folder", str(tmp_path)]
    with LoopbackHub({}, cut=True) as hub:
        run = run_script(*command, url=hub.url, home=tmp_path)
        assert hub.commits == []
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert "the connection to the Hub was lost" in run.stderr
    assert "run this command again" in run.stderr


def test_hub_out_of_reach_is_one_sentence(tmp_path: Path) -> None:
    command = ["training/publish.py", "model", "user/name", "--folder", "space/vgg16"]
    run = run_script(*command, url="http://127.0.0.1:9", home=tmp_path)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert "the connection to the Hub was lost" in run.stderr


def test_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="holds no trained model"):
        publish_model(tmp_path, "user/name", private=False, revision=None)
