"""A whole catalogue: the rule, and the command that sorts files by it, whatever happens to them."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from PIL import Image
from psutil import Process
from scipy.special import softmax
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

from data.catalogue import find_photos
from data.categories import CATEGORIES, DESCRIPTIONS
from data.labelled import SAMPLE
from data.photos import read_photo
from space.models.classifiers import prepare
from space.models.scoring import Models, compare, load_models
from space.report.report import MODELS, REPORT
from space.sorting.batches import sort_files
from space.sorting.rule import Rule, RuleError, find_rule, sort_pixels
from tests.conftest import ROOT
from tests.loopback_hub import LoopbackHub, run_with_hub
from tests.test_comparison import wilson

COLUMNS = [
    *("path", "vgg16", "vgg16_confidence", "zero_shot", "zero_shot_confidence"),
    *("agree", "decision", "why"),
]


# --- the rule ------------------------------------------------------------------------------------


def confidences(predictions: pd.DataFrame, metrics: dict) -> dict[str, np.ndarray]:
    """By the formulas: temperature scaling, and the mean of both where they agree."""
    shares = {}
    for model in MODELS:
        values = predictions[[f"{model} {category}" for category in CATEGORIES]].to_numpy()
        scaled = np.log(values) if model == "vgg16" else values * metrics[model]["logit_scale"]
        shares[model] = softmax(scaled / metrics[model]["temperature"], axis=1)
    sure = {model: share.max(1) for model, share in shares.items()}
    agree = shares["vgg16"].argmax(1) == shares["zero_shot"].argmax(1)
    return {**sure, "both": np.where(agree, (sure["vgg16"] + sure["zero_shot"]) / 2, -1)}


def sort_in_memory(models: Models, rule: Rule, photos: list[Image.Image]) -> pd.DataFrame:
    """Decide of RGB photos, all in one batch."""
    processors = models.vgg16.processor, models.zero_shot.processor
    return sort_pixels(models, rule, *(prepare(photos, processor) for processor in processors))


@pytest.mark.parametrize("precision", [0.9, 0.95, 0.99])
def test_rule_sorts_the_most_that_is_right_often_enough(precision: float, models: Models) -> None:
    rule = find_rule(precision, models)
    predictions = pd.read_csv(REPORT / "predictions.csv")
    metrics = json.loads((REPORT / "metrics.json").read_text())
    sure = confidences(predictions, metrics)
    validation, test = (predictions["split"] == split for split in ("validation", "test"))
    coverage = {}
    for way, confidence in sure.items():
        said = predictions["zero_shot" if way == "zero_shot" else "vgg16"]
        right = (said == predictions["label"]).to_numpy()
        for threshold in confidence[validation & (confidence >= 0)]:
            reached = validation & (confidence >= threshold)
            if right[reached].mean() >= precision:
                coverage[way] = max(coverage.get(way, 0), reached.sum())
        if way == rule.by:
            reached = confidence >= rule.threshold
            assert right[validation & reached].mean() >= precision
            assert (validation & reached).sum() == coverage[way]
            n, mistakes = (test & reached).sum(), (test & reached & ~right).sum()
    assert coverage[rule.by] == max(coverage.values())
    assert (rule.test["sorted"], rule.test["mistakes"]) == (n, mistakes)
    assert rule.test["sorted_ci95"] == pytest.approx(wilson(n, test.sum()), abs=1e-6)
    assert rule.test["precision_ci95"] == pytest.approx(wilson(n - mistakes, n), abs=1e-6)
    assert f"sorts {n} " in rule.in_words() and f"{mistakes} of them wrong" in rule.in_words()


def test_decisions_are_those_of_the_page_calibrated_and_cut_at_the_threshold(
    models: Models,
) -> None:
    rule = find_rule(0.95, models)
    photos = [read_photo(file) for file in sorted(SAMPLE.glob("*/*-1.jpg"))[::3]]
    rows = sort_in_memory(models, rule, photos)
    assert list(rows) == COLUMNS[1:] and len(rows) == len(photos)
    for photo, row in zip(photos, rows.itertuples(), strict=True):
        probabilities, shares, details = compare(models, photo)
        sure = []
        for model, values in zip(MODELS, (probabilities, shares), strict=True):
            temperature = rule.models[model]["temperature"]
            scaled = softmax(np.log(list(values.values())) / temperature)
            assert getattr(row, model) == details["categories"][model]
            assert getattr(row, f"{model}_confidence") == pytest.approx(scaled.max(), abs=1e-2)
            sure.append(getattr(row, f"{model}_confidence"))
        assert row.agree == (row.vgg16 == row.zero_shot)
        sure = {"vgg16": sure[0], "zero_shot": sure[1], "both": sum(sure) / 2 * row.agree}
        choice = row.zero_shot if rule.by == "zero_shot" else row.vgg16
        assert row.decision == (choice if sure[rule.by] >= rule.threshold else "person")


def test_vgg16_decides_alone_beside_a_zero_shot_model_that_was_not_measured(
    small_clip: Path,
) -> None:
    models = load_models(zero_shot_name=str(small_clip))
    rule = find_rule(0.95, models)
    predictions = pd.read_csv(REPORT / "predictions.csv")
    sure = confidences(predictions, json.loads((REPORT / "metrics.json").read_text()))["vgg16"]
    assert rule.by == "vgg16"
    assert (
        rule.test["sorted"] == ((predictions["split"] == "test") & (sure >= rule.threshold)).sum()
    )
    assert "CLIP has no say until it is measured" in rule.in_words()
    photos = [read_photo(file) for file in sorted(SAMPLE.glob("*/*-1.jpg"))]
    rows = sort_in_memory(models, rule, photos)
    sorted_ = rows["vgg16_confidence"] >= rule.threshold
    assert (rows["decision"] == rows["vgg16"].where(sorted_, "person")).all()
    assert (sorted_ & ~rows["agree"]).any(), "random weights agree everywhere"


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory, small_clip: Path) -> Path:
    """A classifier of random weights, and a report of it and of such a CLIP.

    What they say is nonsense, in a millisecond, and what the report says of it is invented.
    """
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = TimmWrapperConfig(
        architecture="test_resnet",
        label2id={name: index for index, name in enumerate(CATEGORIES)},
        id2label=dict(enumerate(CATEGORIES)),
        pretrained_cfg={"input_size": [3, 64, 64], "crop_mode": "border", "crop_pct": 1.0},
    )
    TimmWrapperForImageClassification(config).save_pretrained(folder / "classifier")
    write_report(folder, load_models(str(folder / "classifier"), str(small_clip)))
    return folder


@pytest.fixture
def tiny(invented: Path, small_clip: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The report of the small networks, which the environment puts in the models' place."""
    monkeypatch.setenv("VGG16_MODEL", str(invented / "classifier"))
    monkeypatch.setenv("ZERO_SHOT_MODEL", str(small_clip))
    return invented


def write_report(folder: Path, models: Models) -> None:
    """A report by which VGG16 is right on the half of some photos that it is surer of."""
    texts = list(DESCRIPTIONS.values())
    photos = [noise(number) for number in range(40)]
    probabilities = models.vgg16.classify(prepare(photos, models.vgg16.processor))
    embeddings = models.zero_shot.encode_photos(prepare(photos, models.zero_shot.processor))
    values = np.hstack([probabilities, embeddings @ models.zero_shot.encode_texts(tuple(texts)).T])
    columns = [f"{model} {category}" for model in MODELS for category in CATEGORIES]
    table = pd.DataFrame(values.astype(float), columns=columns)
    sure = probabilities.max(1) >= np.median(probabilities.max(1))
    table["label"] = np.array(CATEGORIES)[(probabilities.argmax(1) + ~sure) % 7]
    splits = [table.assign(split=split) for split in ("validation", "test")]
    pd.concat(splits).to_csv(folder / "predictions.csv", index=False)
    described = {
        "vgg16": {"revision": models.vgg16_identity.revision, "texts": []},
        "zero_shot": {"revision": models.zero_shot_identity.revision, "texts": texts},
    }
    for model, entry in described.items():
        entry |= {"model": model, "logit_scale": 1.0, "temperature": 1.0}
    (folder / "metrics.json").write_text(json.dumps(described))


def noise(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((100, 80))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Forty small photos in two folders."""
    for folder in "ab":
        (tmp_path / "shop" / folder).mkdir(parents=True)
    for number in range(40):
        noise(number).save(tmp_path / "shop" / "ab"[number % 2] / f"{number:02}.jpg")
    return tmp_path / "shop"


@pytest.fixture
def sort(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., str]:
    """Run the command in this process; what it printed."""

    def run(source: str | Path, output: Path, *options: str) -> str:
        command = ["sort_photos.py", str(source), "--output", str(output), "--report", str(tiny)]
        monkeypatch.setattr(sys, "argv", [*command, "--precision", "0.9", *options])
        runpy.run_path(str(ROOT / "space" / "sort_photos.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_every_source_gives_the_same_rows(
    sort: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    printed = sort(shop, tmp_path / "folder.csv")
    rows = pd.read_csv(tmp_path / "folder.csv")
    assert list(rows) == COLUMNS
    assert rows["path"].tolist() == sorted(f"{'ab'[n % 2]}/{n:02}.jpg" for n in range(40))
    person = (rows["decision"] == "person").sum()
    assert 0 < person < 40
    assert f"40 photos: {40 - person} sorted, {person} left to a person, 0 broken." in printed
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder.csv", "shop"]

    with zipfile.ZipFile(tmp_path / "shop.zip", "w") as archive:
        for file in shop.glob("*/*"):
            archive.write(file, file.relative_to(shop))
    sort(tmp_path / "shop.zip", tmp_path / "zip.parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "zip.parquet"), rows, check_dtype=False
    )
    sort(f"file://{shop}", tmp_path / "address.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "address.csv"), rows)
    # Windows' separators, as in the study's table.
    paths = rows["path"].str.replace("/", "\\")
    pd.DataFrame({"image": "x.jpg", "path_image": paths}).to_csv(shop / "products.csv")
    sort(shop / "products.csv", tmp_path / "csv.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "csv.csv"), rows)


def test_broken_huge_and_double_photos_have_their_rows(
    sort: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    sort(shop, tmp_path / "good.csv")
    good = pd.read_csv(tmp_path / "good.csv")
    whole = (shop / "a" / "00.jpg").read_bytes()
    (shop / "a" / "copy.jpg").write_bytes(whole)
    (shop / "a" / "torn.jpg").write_bytes(whole[:300])
    (shop / "empty.jpg").touch()
    (shop / "notes.txt").write_text("no photo")
    Image.new("L", (7000, 6000)).save(shop / "huge.png")
    Image.new("RGB", (4000, 2)).save(shop / "line.png")
    Path(os.fsdecode(bytes(shop) + b"/\xff.jpg")).write_bytes(whole)
    (shop / ".hidden.jpg").write_bytes(whole)
    (shop / "circle").symlink_to(shop)
    printed = sort(shop, tmp_path / "all.csv")
    rows = pd.read_csv(tmp_path / "all.csv", index_col="path")
    assert rows.index.is_unique and len(rows) == 47
    pd.testing.assert_frame_equal(rows.loc[good["path"]], good.set_index("path"), check_dtype=False)
    pd.testing.assert_series_equal(rows.loc["a/copy.jpg"], rows.loc["a/00.jpg"], check_names=False)
    broken = rows[rows["vgg16"].isna()]
    assert set(broken.index) == {
        "a/torn.jpg",
        "empty.jpg",
        "huge.png",
        "line.png",
        "notes.txt",
        "�.jpg",
    }
    assert (broken["decision"] == "person").all()
    assert "42 megapixels" in broken["why"]["huge.png"]
    assert "not a photo" in broken["why"]["notes.txt"]
    assert "6 broken" in printed


def test_photos_of_a_data_set_on_the_hub(shop: Path, tmp_path: Path) -> None:
    photos = [str(file) for file in sorted(shop.glob("*/*"))]
    (tmp_path / "repository" / "data").mkdir(parents=True)
    Dataset.from_dict({"image": photos}).cast_column("image", datasets.Image()).to_parquet(
        tmp_path / "repository" / "data" / "train-00000-of-00001.parquet"
    )
    with LoopbackHub({"datasets/user/name@main": tmp_path / "repository"}) as hub:
        printed = run_with_hub(
            "from data.catalogue import find_photos; names, read = find_photos('user/name');"
            "print(len(names), names[-1], read(names[-1]).hex())",
            hub.url,
            tmp_path / "home",
        )
    assert printed.splitlines()[-1] == f"40 train/39 {Path(photos[-1]).read_bytes().hex()}"


def test_killed_run_goes_on(
    sort: Callable[..., str], tiny: Path, shop: Path, tmp_path: Path
) -> None:
    output, journal = tmp_path / "sorted.csv", tmp_path / ".sorted.csv.part"
    for number in range(600):
        noise(number).save(shop / f"{number}.jpg")
    process = start(shop, output, tiny)
    wait_for_rows(process, journal, 100)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = journal.read_bytes()
    done = [json.loads(line)["path"] for line in kept.splitlines()[1:]]
    assert 100 <= len(done) < 640 and not output.exists()
    # A row torn in the middle; and what is done is not done again: these photos are gone.
    journal.write_bytes(kept + b'{"path": "5')
    for path in done[:50]:
        (shop / path).write_bytes(b"gone")
    sort(shop, output)
    rows = pd.read_csv(output)
    assert rows["path"].is_unique and len(rows) == 640
    assert rows["vgg16"].notna().all()
    assert rows["path"].tolist()[: len(done)] == done
    assert not journal.exists()


def test_memory_does_not_grow_with_the_photos(tiny: Path, tmp_path: Path) -> None:
    """The peak at 1,000 photos and near 4,000, of one run."""
    noise(0).save(tmp_path / "photo.jpg")
    (tmp_path / "shop").mkdir()
    for number in range(4000):
        os.link(tmp_path / "photo.jpg", tmp_path / "shop" / f"{number}.jpg")
    process = start(tmp_path / "shop", tmp_path / "sorted.csv", tiny)
    wait_for_rows(process, tmp_path / ".sorted.csv.part", 1000)
    early = peak_kilobytes(process)
    wait_for_rows(process, tmp_path / ".sorted.csv.part", 3900)
    late = peak_kilobytes(process)
    assert process.wait() == 0 and len(pd.read_csv(tmp_path / "sorted.csv")) == 4000
    assert late - early < 20 * 1024


def peak_kilobytes(process: subprocess.Popen) -> int:
    """Of its memory, since it runs the command: what wait4 says includes its parent's."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def start(source: Path, output: Path, report: Path) -> subprocess.Popen:
    """The command in a process of its own."""
    options = ["--output", str(output), "--report", str(report), "--precision", "0.9"]
    return subprocess.Popen(
        [sys.executable, "space/sort_photos.py", str(source), *options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for_rows(process: subprocess.Popen, journal: Path, n: int) -> None:
    while not journal.exists() or journal.read_bytes().count(b"\n") <= n:
        assert process.poll() is None
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("nowhere", [], "nowhere is neither a folder"),
        ("s3x://bucket/photos", [], "s3x://bucket/photos cannot be listed"),
        ("user/name", [], "user/name cannot be loaded"),
        ("{tmp}/empty", [], "empty holds no photos"),
        ("{tmp}/no.csv", [], "needs the column image"),
        ("{tmp}/torn.zip", [], "torn.zip is neither a folder, nor a zip"),
        ("{shop}", ["--precision", "99"], "above 0 and up to 1"),
        ("{shop}", ["--report", "{tmp}"], "holds no comparison"),
        ("{shop}", ["--report", str(REPORT)], "is of another"),
        ("{shop}", ["--output", "{tmp}/sorted.txt"], "must end in .csv or .parquet"),
        ("{shop}", ["--output", "{tmp}/no.csv"], "exists"),
        ("{shop}", ["--output", "{tmp}/no/sorted.csv"], "There is no folder"),
        ("{shop}", ["--ray", "nowhere"], "No cluster answers|pip install"),
        ("{shop}", ["--output", "{tmp}/other.csv"], "other photos, models or another precision"),
    ],
)
def test_faults_are_named_in_one_sentence(
    source: str,
    options: list[str],
    message: str,
    sort: Callable[..., str],
    shop: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.csv").write_text("photo\n1.jpg\n")
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04")
    (tmp_path / ".other.csv.part").write_text("{}\n")
    places = {"tmp": tmp_path, "shop": shop}
    options = [option.format(**places) for option in options]
    with pytest.raises(SystemExit, match=message) as stop:
        sort(source.format(**places), tmp_path / "sorted.csv", *options)
    assert "\n" not in str(stop.value)
    assert not (tmp_path / "sorted.csv").exists()


def test_rule_needs_validation_photos(tiny: Path, tmp_path: Path) -> None:
    shutil.copy(tiny / "metrics.json", tmp_path)
    predictions = pd.read_csv(tiny / "predictions.csv")
    predictions[predictions["split"] == "test"].to_csv(tmp_path / "predictions.csv")
    with pytest.raises(RuleError, match="without --all-test"):
        find_rule(0.99, load_models(), tmp_path)


# --- on a cluster --------------------------------------------------------------------------------


def test_cluster_gives_the_same_rows_once_though_a_machine_fails(
    tiny: Path, shop: Path, tmp_path: Path
) -> None:
    """Two nodes; the one that sorts is killed after its first rows."""
    ray = pytest.importorskip("ray", reason="Ray (space/requirements-ray.txt) is not installed")
    from ray.cluster_utils import Cluster

    from space.sorting.ray_cluster import sort_on_cluster

    for number in range(600):
        noise(number).save(shop / f"{number}.jpg")
    (shop / "broken.jpg").write_bytes(b"broken")
    names, read = find_photos(str(shop))
    models = load_models()
    rule = find_rule(0.9, models, tiny)
    alone = {row["path"]: row for rows in sort_files(models, rule, read, names) for row in rows}
    # Ray takes half a minute to miss a node; here, two seconds.
    health = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
    cluster = Cluster(True, head_node_args={"num_cpus": 0, "_system_config": health})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    try:
        batches = sort_on_cluster(cluster.address, rule, read, names)
        rows = next(batches)
        cluster.remove_node(next(filter(_sorts, nodes)), allow_graceful=False)
        rows += chain.from_iterable(batches)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert len(rows) == len(names) == 641
    for row in rows:
        expected = alone.pop(row["path"])
        assert row == pytest.approx(expected, abs=1e-5), row


def _sorts(node: object) -> bool:
    """Whether an actor runs on a node of the cluster."""
    raylet = node.all_processes["raylet"][0].process.pid
    return any("Sorter" in " ".join(child.cmdline()) for child in Process(raylet).children())
