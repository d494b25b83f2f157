"""A whole catalogue: the rule, and the command that sorts files by it, whatever happens to them."""

import json
import os
import resource
import runpy
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from gradio.data_classes import FileData
from PIL import Image
from psutil import Process
from pydantic import TypeAdapter
from scipy.special import softmax
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

from data.categories import CATEGORIES
from data.labelled import SAMPLE, load_photos
from data.photos import read_photo
from data.sources import open_source
from data.texts import STUDY
from space.models.checkpoints import load_models
from space.models.classifiers import Models
from space.models.pixels import prepare
from space.pages.many_photos import photos_in, small_picture
from space.report.report import Description, Measured, Report, columns, decide, load_report
from space.report.statistics import wilson_interval
from space.sorting.batches import Photo, logits_of, sort_photos
from space.sorting.rule import Rule, find_rule
from tests.conftest import ROOT

COLUMNS = [
    *("path", "vgg16", "vgg16_confidence", "zero_shot", "zero_shot_confidence"),
    *("agree", "decision", "why"),
]


# --- the rule ------------------------------------------------------------------------------------


def confidences(report: Report) -> dict[str, np.ndarray]:
    """By the formulas: temperature scaling, and the mean of both where they agree."""
    scaled = [softmax(report.logits(m.key) / m.temperature, axis=1) for m in report.models]
    confidence = {m.key: p.max(1) for m, p in zip(report.models, scaled, strict=True)}
    agree = scaled[0].argmax(1) == scaled[1].argmax(1)
    return {**confidence, "both": np.where(agree, sum(confidence.values()) / 2, -1)}


def sort_in_memory(
    models: Models, rule: Rule, files: list[Path], **options: object
) -> pd.DataFrame:
    """Rows of photo files."""
    photos = [Photo(file.name, file.read_bytes) for file in files]
    return pd.DataFrame(chain.from_iterable(sort_photos(models, rule, photos, **options)))


@pytest.mark.parametrize("precision", [0.9, 0.95, 0.99])
def test_rule_sorts_the_most_that_is_right_often_enough(precision: float, models: Models) -> None:
    rule, report = find_rule(precision, models), load_report()
    validation, test = (report.predictions["split"] == name for name in ("validation", "test"))
    coverage = {}
    for way, confidence in confidences(report).items():
        logits = report.logits("zero_shot" if way == "zero_shot" else "vgg16")
        right = logits.argmax(1) == report.labels
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
    assert rule.test == (test.sum(), n, mistakes)
    low, high = wilson_interval(n, test.sum())
    assert f"sorts {n} (95% interval {low:.1%} to {high:.1%})" in rule.in_words()
    assert f"{mistakes} of them wrong" in rule.in_words()


def test_vgg16_decides_alone_beside_a_zero_shot_model_that_was_not_measured(
    small_clip: Path,
) -> None:
    models = load_models(zero_shot=str(small_clip))
    rule, report = find_rule(0.95, models), load_report()
    reached = confidences(report)["vgg16"] >= rule.threshold
    assert rule.by == "vgg16"
    assert rule.test[1] == ((report.predictions["split"] == "test") & reached).sum()
    assert "CLIP has no say until it is measured" in rule.in_words()
    rows = sort_in_memory(models, rule, sorted(SAMPLE.glob("*/*-1.jpg"))[::3])
    sorted_ = rows["vgg16_confidence"] >= rule.threshold
    assert (rows["decision"] == rows["vgg16"].where(sorted_, "person")).all()
    assert (sorted_ & ~rows["agree"]).any(), "random weights agree everywhere"


def test_command_tab_and_report_decide_alike(
    sort: Callable[..., str], tiny: Path, tiny_models: Models, tmp_path: Path
) -> None:
    """Also of a large JPEG, which is decoded at a fraction of its size."""
    folder = tmp_path / "shop" / "watches"
    folder.mkdir(parents=True)
    files = []
    for number, size in enumerate([(80, 100), (1300, 1100), (2100, 2400)]):
        files.append(folder / f"{number}.jpg")
        pixels = np.random.default_rng(number).integers(0, 255, (90, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(files[-1], quality=95)
    sort(tmp_path / "shop", tmp_path / "sorted.csv")
    rows = pd.read_csv(tmp_path / "sorted.csv")
    models, rule = tiny_models, find_rule(0.9, tiny_models, tiny)
    photos = photos_in([FileData(path=str(file), orig_name=file.name) for file in files])
    tab = chain.from_iterable(sort_photos(models, rule, photos, threads=1, show=small_picture))
    loaded = load_photos(str(tmp_path / "shop"), all_test=True)["test"]
    order = np.argsort(loaded["name"])
    pixels = {m.key: prepare(loaded[order]["image"], m.processor) for m in models}
    reported = decide(logits_of(models, CATEGORIES, pixels), rule.temperatures)
    for row, dropped, (index, both) in zip(
        rows.to_dict("records"), tab, reported["both"].iterrows(), strict=True
    ):
        assert (row["decision"], row["why"]) == (dropped["decision"], dropped["why"])
        for key in rule.names:
            measured = reported[key].loc[index]
            assert row[key] == dropped[key] == CATEGORIES[int(measured["choice"])]
            for confidence in (dropped[f"{key}_confidence"], measured["confidence"]):
                assert row[f"{key}_confidence"] == pytest.approx(confidence, abs=1e-6)
        assert row["agree"] == (both["confidence"] > 0)


def test_categories_are_found_by_name(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same network with its categories in another order."""
    watch = read_photo(SAMPLE / "watches" / "wristwatch-1.jpg")
    pixels = {model.key: prepare([watch], model.processor) for model in models}
    expected, logits = logits_of(models, CATEGORIES, pixels)["vgg16"], models.vgg16.logits
    monkeypatch.setattr(models.vgg16, "categories", CATEGORIES[::-1])
    monkeypatch.setattr(models.vgg16, "logits", lambda pixels: logits(pixels)[:, ::-1])
    found = logits_of(models, CATEGORIES, pixels)["vgg16"]
    assert found.argmax() == CATEGORIES.index("watches")
    np.testing.assert_allclose(found, expected, atol=1e-5)


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory, small_clip: Path) -> tuple[Path, Models]:
    """A classifier and a CLIP of random weights, and a report of them.

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
    network = TimmWrapperForImageClassification(config)
    # Large enough to tell photos apart: the random layers before it leave hardly anything.
    torch.nn.init.normal_(network.timm_model.get_classifier().weight, std=1e4)
    network.save_pretrained(folder / "classifier")
    models = load_models(str(folder / "classifier"), str(small_clip))
    write_report(folder, models)
    return folder, models


@pytest.fixture
def tiny(invented: tuple[Path, Models], small_clip: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The report of the small networks, which the environment puts in the models' place."""
    folder, models = invented
    monkeypatch.setenv("VGG16_MODEL", str(folder / "classifier"))
    monkeypatch.setenv("ZERO_SHOT_MODEL", str(small_clip))
    # Loaded once for all that runs in this process.
    monkeypatch.setattr("space.sorting.catalogue.load_models", lambda: models)
    return folder


@pytest.fixture
def tiny_models(tiny: Path, invented: tuple[Path, Models]) -> Models:
    """The small networks."""
    return invented[1]


def write_report(folder: Path, models: Models) -> None:
    """A report by which VGG16 is right on the half of some photos that it is surer of."""
    photos = [noise(number) for number in range(40)]
    pixels = {model.key: prepare(photos, model.processor) for model in models}
    logits = logits_of(models, CATEGORIES, pixels)
    names = [name for key in logits for name in columns(key, CATEGORIES)]
    table = pd.DataFrame(np.hstack(list(logits.values())).astype(float), columns=names)
    confidence, choice = softmax(logits["vgg16"], axis=1).max(1), logits["vgg16"].argmax(1)
    high = confidence >= np.median(confidence)
    table["label"], table["image"] = np.array(CATEGORIES)[(choice + ~high) % 7], "x.jpg"
    splits = [table.assign(split=split) for split in ("validation", "test")]
    pd.concat(splits).to_csv(folder / "predictions.csv", index=False)
    measured = [
        Measured(
            *(model.key, model.identity.name, model.kind, "x", model.identity.weights),
            STUDY if model.key == "zero_shot" else {},
            logit_scale=1.0,
            temperature=1.0,
        )
        for model in models
    ]
    description = Description("invented", CATEGORIES, measured)
    (folder / "report.json").write_bytes(TypeAdapter(Description).dump_json(description))


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

    def run(source: str | Path, output: Path, *options: str, status: int | None = None) -> str:
        command = ["sort_photos.py", str(source), "--output", str(output), "--report", str(tiny)]
        monkeypatch.setattr(sys, "argv", [*command, "--precision", "0.9", *options])
        code = None
        try:
            runpy.run_path(str(ROOT / "space" / "sort_photos.py"), run_name="__main__")
        except SystemExit as stop:
            if not isinstance(stop.code, int):
                raise
            code = stop.code
        assert code == status
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
    by_category = dict(line.rsplit(maxsplit=1) for line in printed.splitlines()[-9:-1])
    for category, n in (
        rows["decision"].drop(rows.index[rows["decision"] == "person"]).value_counts().items()
    ):
        assert by_category[category] == str(n)

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
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "csv.csv")[COLUMNS], rows)


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
    os.mkfifo(shop / "pipe.jpg")
    printed = sort(shop, tmp_path / "all.csv", status=3)
    rows = pd.read_csv(tmp_path / "all.csv", index_col="path")
    assert rows.index.is_unique and len(rows) == 48
    pd.testing.assert_frame_equal(rows.loc[good["path"]], good.set_index("path"), check_dtype=False)
    pd.testing.assert_series_equal(rows.loc["a/copy.jpg"], rows.loc["a/00.jpg"], check_names=False)
    broken = rows[rows["vgg16"].isna()]
    assert set(broken.index) == {
        "a/torn.jpg",
        "empty.jpg",
        "huge.png",
        "line.png",
        "notes.txt",
        "pipe.jpg",
        "�.jpg",
    }
    assert (broken["decision"] == "person").all()
    assert "42 megapixels" in broken["why"]["huge.png"]
    assert "not a photo" in broken["why"]["notes.txt"]
    assert "7 broken" in printed


def test_csv_opens_in_a_spreadsheet_with_the_columns_of_the_catalogue(
    sort: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    (shop / "=1+1.jpg").write_bytes((shop / "a" / "00.jpg").read_bytes())
    (shop / "products.csv").write_text(
        "SKU,path_image,image,price,agree,=x\n007,a/00.jpg,x.jpg,-1.50,yes,@crème\n"
        '008,,,2,no,-cmd\n009,=1+1.jpg,x.jpg,3,,"\ttab"\n',
        encoding="utf-8",
    )
    sort(shop / "products.csv", tmp_path / "sorted.csv", status=3)
    assert (tmp_path / "sorted.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    rows = pd.read_csv(tmp_path / "sorted.csv", dtype=str, keep_default_na=False)
    assert list(rows) == [*COLUMNS, *("SKU", "path_image", "image", "price", "agree (CSV)", "'=x")]
    assert rows["SKU"].tolist() == ["007", "008", "009"]
    assert rows["path"].tolist() == ["a/00.jpg", "row 3", "'=1+1.jpg"]
    assert rows["price"].tolist() == ["-1.50", "2", "3"]
    assert rows["'=x"].tolist() == ["'@crème", "'-cmd", "'\ttab"]
    sort(shop / "products.csv", tmp_path / "sorted.parquet", status=3)
    raw = pd.read_parquet(tmp_path / "sorted.parquet")
    assert raw["=x"].tolist() == ["@crème", "-cmd", "\ttab"]
    assert raw["path"].tolist()[2] == "=1+1.jpg"


def test_killed_run_goes_on_and_a_second_one_beside_it_is_refused(
    sort: Callable[..., str], tiny: Path, shop: Path, tmp_path: Path
) -> None:
    output, journal = tmp_path / "sorted.csv", tmp_path / ".sorted.csv.part"
    for number in range(600):
        noise(number).save(shop / f"{number}.jpg")
    process = start(shop, output, tiny)
    wait_for_rows(process, journal, 100)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(SystemExit, match="Another run is writing"):
        sort(shop, output)
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


def test_full_disk_ends_in_a_sentence_and_rows_are_kept(
    sort: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may be larger than this, which is what a disk that is full looks like.
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, limits[1]))
    try:
        with pytest.raises(SystemExit, match="mend that, and go on with the same command") as stop:
            sort(shop, tmp_path / "sorted.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(stop.value)
    assert 1 < (tmp_path / ".sorted.csv.part").read_bytes().count(b"\n") < 40
    sort(shop, tmp_path / "sorted.csv")
    assert pd.read_csv(tmp_path / "sorted.csv")["path"].nunique() == 40


@pytest.mark.parametrize("library", ["_multiarray_umath", "libtorch_cpu"])
def test_interrupt_while_the_command_starts_is_a_sentence(
    library: str, tiny: Path, shop: Path, tmp_path: Path
) -> None:
    process = start(shop, tmp_path / "sorted.csv", tiny)
    while library not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1].decode()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "Stopped; the same command goes on from here."
    assert "Traceback" not in said


def test_memory_does_not_grow_with_the_photos(tiny: Path, tmp_path: Path) -> None:
    """What is held at least, around the 500th photo and the 2,300th: a peak is up to chance."""
    noise(0).save(tmp_path / "photo.jpg")
    (tmp_path / "shop").mkdir()
    for number in range(2700):
        os.link(tmp_path / "photo.jpg", tmp_path / "shop" / f"{number}.jpg")
    process = start(tmp_path / "shop", tmp_path / "sorted.csv", tiny)
    early, late = (
        least_kilobytes(process, tmp_path / ".sorted.csv.part", first) for first in (300, 2100)
    )
    process.communicate()
    assert process.returncode == 0 and len(pd.read_csv(tmp_path / "sorted.csv")) == 2700
    # A decoded photo is 24 kB: 1,800 of them would be 42 MB.
    assert late - early < 20 * 1024


def least_kilobytes(process: subprocess.Popen, journal: Path, first: int) -> int:
    """The least memory that the command holds while it sorts 400 photos."""
    wait_for_rows(process, journal, first)
    held = []
    while journal.read_bytes().count(b"\n") <= first + 400:
        status = Path(f"/proc/{process.pid}/status").read_text()
        held.append(int(status.split("VmRSS:")[1].split()[0]))
        time.sleep(0.01)
    return min(held)


def start(source: Path, output: Path, report: Path) -> subprocess.Popen:
    """The command in a process of its own."""
    arguments = ["--output", str(output), "--report", str(report), "--precision", "0.9"]
    return subprocess.Popen(
        [sys.executable, "space/sort_photos.py", str(source), *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # As in a terminal, wherever the tests run: a job in the background ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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
        ("{tmp}/torn.zip", [], "torn.zip cannot be read as a zip"),
        ("{tmp}/table.xlsx", [], "is a spreadsheet: save it as CSV"),
        ("{shop}", ["--precision", "99"], "above 0 and up to 1"),
        ("{shop}", ["--report", "{tmp}"], "There is no report"),
        ("{shop}", ["--report", "{tmp}/torn"], "cannot be read"),
        ("{shop}", ["--report", "{tmp}/another"], "is of another"),
        ("{shop}", ["--report", "{tmp}/all"], "without --all-test"),
        ("{shop}", ["--output", "{tmp}/sorted.txt"], "must end in .csv or .parquet"),
        ("{shop}", ["--output", "{tmp}/no.csv"], "exists"),
        ("{shop}", ["--output", "{tmp}/no/sorted.csv"], "There is no folder"),
        ("{shop}", ["--output", "{tmp}/other.csv"], "other photos, models or another precision"),
    ],
)
def test_faults_are_named_in_one_sentence(
    source: str,
    options: list[str],
    message: str,
    sort: Callable[..., str],
    tiny: Path,
    shop: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.csv").write_text("photo\n1.jpg\n")
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04")
    write_workbook(tmp_path / "table.xlsx")
    (tmp_path / ".other.csv.part").write_text("{}\n")
    described = (tiny / "report.json").read_text()
    table = pd.read_csv(tiny / "predictions.csv")
    for name, text, rows in (
        ("torn", described[:200], table),
        ("another", described.replace(load_report(tiny).models[0].weights, "0"), table),
        ("all", described, table[table["split"] == "test"]),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(text)
        rows.to_csv(tmp_path / name / "predictions.csv", index=False)
    places = {"tmp": tmp_path, "shop": shop}
    options = [option.format(**places) for option in options]
    with pytest.raises(SystemExit, match=message) as stop:
        sort(source.format(**places), tmp_path / "sorted.csv", *options)
    assert "\n" not in str(stop.value)
    assert not (tmp_path / "sorted.csv").exists()


def write_workbook(file: Path) -> None:
    """An Excel file is a zip."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")


# --- on a cluster --------------------------------------------------------------------------------


def test_silent_cluster_is_given_up(
    sort: Callable[..., str], shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray (space/requirements-ray.txt) is not installed")
    monkeypatch.setattr("space.sorting.ray_cluster.ANSWER_SECONDS", 3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SystemExit, match=f"No cluster answers at {address}"):
            sort(shop, tmp_path / "sorted.csv", "--ray", address)


def test_cluster_gives_the_same_rows_once_though_a_machine_fails(
    tiny: Path,
    tiny_models: Models,
    shop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two nodes and a relative zip; the node that sorts is killed after its first rows."""
    ray = pytest.importorskip("ray", reason="Ray (space/requirements-ray.txt) is not installed")
    from ray.cluster_utils import Cluster

    from space.sorting.ray_cluster import sort_on_cluster

    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("shop.zip", "w") as archive:
        for number in range(200):
            archive.write(shop / "a" / f"{number % 20 * 2:02}.jpg", f"{number}.jpg")
        archive.writestr("broken.jpg", b"broken")
    source = open_source("shop.zip")
    names = source.table["name"].tolist()
    rule = find_rule(0.9, tiny_models, tiny)
    photos = (Photo(name, partial(source.read, name)) for name in names)
    alone = {row["path"]: row for rows in sort_photos(tiny_models, rule, photos) for row in rows}
    monkeypatch.chdir("/")  # where nothing of a relative path is
    # Ray takes half a minute to miss a node; here, two seconds.
    health = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
    cluster = Cluster(True, head_node_args={"num_cpus": 0, "_system_config": health})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    try:
        batches = sort_on_cluster(cluster.address, rule, source.read, names)
        rows = next(batches)
        cluster.remove_node(next(filter(_sorts, nodes)), allow_graceful=False)
        rows += chain.from_iterable(batches)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert len(rows) == len(names) == 201
    for row in rows:
        expected = alone.pop(row["path"])
        assert row == pytest.approx(expected, abs=1e-5), row


def _sorts(node: object) -> bool:
    """Whether an actor runs on a node of the cluster."""
    raylet = node.all_processes["raylet"][0].process.pid
    return any("Sorter" in " ".join(child.cmdline()) for child in Process(raylet).children())
