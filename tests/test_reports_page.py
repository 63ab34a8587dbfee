import base64
import gzip
import json
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers.page_folder import ball, labels, page_of, write_picture, write_pictures
from helpers.results_folder import CASES, cell, cells_of, plan, values, write_heartbeat, write_plan, write_record

from benchmark.records.arrays import write_prediction
from data.masks import largest_component
from reports.figures import Drawn, LeftOut
from reports.page import LIMIT, ReportedExperiment, viewer_volumes, write_page
from reports.page.viewer_cases import choose
from reports.results import read_results
from reports.tables import make_tables

NASTY = """<script>alert(1)</script>"'&amp;"""


class Page(HTMLParser):
    """What is in a page: its text, the attributes of its elements, the content of its scripts."""

    def __init__(self, path):
        super().__init__()
        self.texts, self.attributes, self.scripts, self.tags = [], [], [], []
        self.open = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.open = tag
        if tag == "script":
            self.scripts.append((dict(attributes), ""))

    def handle_endtag(self, tag):
        self.open = None

    def handle_data(self, data):
        if self.open == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self.open != "style":
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def data(self):
        """The viewer's data, and what is stored of each case by its number."""
        stored = [(attributes, json.loads(text)) for attributes, text in self.scripts if "json" in str(attributes)]
        plain = [data for attributes, data in stored if "data-volumes" not in attributes]
        cases = {int(attributes["data-volumes"]): data for attributes, data in stored if "data-volumes" in attributes}
        return plain[0], cases


def finished(folder, planned, pictures=True):
    write_plan(folder, planned)
    for planned_cell in planned["cells"]:
        write_record(folder, planned, planned_cell)
    if pictures:
        write_pictures(folder, planned)
    return folder


def stack_of(stored):
    raw = gzip.decompress(base64.b64decode(stored["data"]))
    return np.frombuffer(raw, np.uint8).reshape(-1, *stored["size"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    methods = [cell("a", role="floor", unlabelled=0), cell("b"), cell("c", fidelity="reconstruction")]
    return finished(tmp_path_factory.mktemp("results"), plan(methods))


def test_the_same_folder_gives_the_same_bytes(folder, tmp_path):
    first, second = (page_of(folder, out=tmp_path / name) for name in "12")
    assert first.name == "index.html" and first.read_bytes() == second.read_bytes()


def test_nothing_is_loaded_from_elsewhere(folder, tmp_path):
    page = Page(page_of(folder, out=tmp_path))
    addresses = [value for name, value in page.attributes if name in ("src", "href", "action", "srcset", "data")]
    assert addresses and all(address.startswith(("#", "data:")) for address in addresses)
    assert not {"iframe", "object", "embed", "base", "form"} & set(page.tags)
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy and "http" not in policy


def test_cells_of_tables_carry_their_values(folder, tmp_path):
    comparison = make_tables([read_results(folder)])[0].tables[0].frame
    carried = [value for name, value in Page(page_of(folder, out=tmp_path)).attributes if name == "data-value"]
    assert {str(mean) for mean in comparison["dice_percent_mean"]} <= set(carried)
    assert "" in carried and "nan" not in carried and "None" not in carried


def test_what_files_say_is_escaped(tmp_path):
    planned = plan([cell("a", display=NASTY), cell("b", display="B", source=NASTY), cell("c")], title=NASTY)
    write_plan(tmp_path / "r", planned)
    for planned_cell in planned["cells"][:2]:
        write_record(tmp_path / "r", planned, planned_cell)
    write_record(tmp_path / "r", planned, planned["cells"][2], state="failed", reason=NASTY)
    write_pictures(tmp_path / "r", planned)
    plain = Page(page_of(finished(tmp_path / "plain", plan([cell("a"), cell("b"), cell("c")])), out=tmp_path / "o1"))
    page = Page(page_of(tmp_path / "r", out=tmp_path / "o2"))
    assert Counter(page.tags)["script"] == Counter(plain.tags)["script"]
    assert page.text.count(NASTY) >= 4  # title, name, source, reason
    assert NASTY in page.data()[0]["views"][0]["labels"]
    assert not any(value == NASTY for name, value in page.attributes if name.startswith("on"))


def test_figures_and_what_was_left_out_are_shown(folder, tmp_path):
    for suffix, size in (("svg", 100), ("png", 20)):
        (tmp_path / f"small.{suffix}").write_bytes(b"x" * size)
        (tmp_path / f"large.{suffix}").write_bytes(b"x" * size * 10_000)
    drawn = [Drawn(name, f"Title of {name}", NASTY, tmp_path / f"{name}.png", tmp_path / f"{name}.svg")
             for name in ("small", "large")]  # fmt: skip
    experiment = ReportedExperiment(
        make_tables([read_results(folder)])[0], drawn, [LeftOut("x", "Sweep", "needs two budgets")]
    )
    page = Page(write_page([experiment], tmp_path))
    sources = [value for name, value in page.attributes if name == "src"]
    assert [source[:18] for source in sources] == ["data:image/svg+xml", "data:image/png;bas"]
    assert "Title of small" in page.text and NASTY in page.text and "Sweep: needs two budgets" in page.text


def test_states_are_said(tmp_path):
    cells = [cell("a"), cell("b"), cell("c"), cell("d"), cell("e")]
    planned = plan(cells)
    write_plan(tmp_path, planned)
    write_record(tmp_path, planned, cells[0])
    write_record(tmp_path, planned, cells[1], state="failed", reason="out of memory")
    write_record(tmp_path, planned, cells[2], state="diverged", reason="loss is nan at step 12")
    write_heartbeat(tmp_path, cells[3], stage="training", step=3, iterations=600)
    text = Page(page_of(tmp_path, out=tmp_path)).text
    assert "failed: out of memory" in text and "diverged: loss is nan at step 12" in text
    assert "running: training, step 3 of 600" in text and "not run" in text
    assert "Without results: B (failed), C (diverged), D (running)." in text


def test_provenance_and_protocol_of_rows(folder, tmp_path):
    facts = {"git_revision": "0123456789abcdef", "git_dirty": True, "device": "A GPU", "seconds_training": 3725,
             "started": "2026-01-02T03:04:05+00:00", "peak_memory_bytes": 3 * 2**29, "packages": {"torch": "9.9"},
             "python": "3.99", "trials_sharing_the_machine": 1}  # fmt: skip
    planned = plan([cell("a", seed=seed, settings={"weight": 0.5}) for seed in (4, 5)])
    finished(tmp_path / "r", planned, pictures=False)
    (tmp_path / "r" / "records" / planned["cells"][0]["trial"] / "provenance.json").write_text(json.dumps(facts))
    text = Page(page_of(tmp_path / "r", out=tmp_path)).text
    for said in ("0123456789ab with changes", "A GPU", "1 h 02 min", "2026-01-02 03:04:05 UTC", "1.50 GiB",
                 "python 3.99, torch 9.9", '{"weight": 0.5}', "split hash 5911a5", "fingerprint f00",
                 "iterations 600", "stride 9×9×2", planned["cells"][1]["trial"],
                 "Trained 2026-01-02; code revision 0123456 with changes; to make this page again"):  # fmt: skip
        assert said in text, said


def test_every_row_of_the_comparison_unfolds_its_own_runs(tmp_path):
    cells = [
        cell("x", fidelity="foreign"),
        cell("a", settings={"w": 1}),
        cell("a", settings={"w": 2}, draw=1),
        cell("b"),
    ]
    page = Page(page_of(finished(tmp_path / "r", plan(cells), pictures=False), out=tmp_path))
    buttons = [value for name, value in page.attributes if name == "data-detail"]
    assert len(set(buttons)) == len(cells)
    assert "It contains images" not in page.text and "To make this page again" in page.text
    for planned_cell in cells:
        assert page.text.count(f" {planned_cell['trial']} ") == 1


def test_structures_have_their_names(tmp_path):
    planned = plan([cell("a")], data={"classes": 2, "class_names": {"cavity": 1, "wall": 3}})
    page = page_of(finished(tmp_path / "r", planned), out=tmp_path).read_text(encoding="utf-8")
    assert re.search(r"<option[^>]*>\s*cavity\s*<", page) and re.search(r"<option[^>]*>\s*wall\s*<", page)


@pytest.mark.parametrize("cells", [[], [cell("a")], [cell("a", role="ceiling", labelled=28, unlabelled=0)]])
def test_a_folder_in_which_nothing_has_run(tmp_path, cells):
    page = Page(page_of(write_plan(tmp_path, plan(cells)), out=tmp_path))
    assert "No method has finished yet." in page.text and "There are no images of test cases here" in page.text
    assert page.data()[0]["views"] == [] if "canvas" in page.tags else True


def test_pictures_without_records_and_records_without_pictures(tmp_path):
    planned = plan([cell("a")])
    write_plan(tmp_path / "r", planned)
    (tmp_path / "r" / "records").mkdir()
    write_pictures(tmp_path / "r", planned)
    data, stored = Page(page_of(tmp_path / "r", out=tmp_path / "1")).data()
    assert data["cases"] == CASES and len(stored) == len(CASES) and len(stack_of(stored[0])) == 2
    data, stored = Page(page_of(finished(tmp_path / "q", planned, pictures=False), out=tmp_path / "2")).data()
    assert sorted(data["cases"]) == CASES and stored == {} and data["views"][0]["labels"] == ["A"]


def test_no_experiment_at_all(tmp_path):
    assert "There is no experiment to show." in Page(write_page([], tmp_path)).text


def test_several_experiments_share_no_id(folder, tmp_path):
    other = finished(tmp_path / "r", plan([cell("a"), cell("b")], title="Another", data={"fingerprint": "f01"}))
    page = Page(page_of(folder, other, out=tmp_path))
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids)) and page.tags.count("canvas") == 2
    targets = {value[1:] for name, value in page.attributes if name == "href" and value.startswith("#")}
    assert targets <= set(ids)
    assert all(value in ids for name, value in page.attributes if name == "data-detail")


def test_values_and_order_of_the_heat_map(folder, tmp_path):
    data, stored = Page(page_of(folder, out=tmp_path)).data()
    planned = json.loads((folder / "plan.json").read_text())
    tables = [values(planned, sum(c["trial"].encode())) for c in planned["cells"]]
    dice = [t[(t["metric"] == "dice") & (t["postprocessing"] == "none")].set_index("case")["value"] for t in tables]
    assert data["cases"] == sorted(CASES, key=lambda case: np.mean([table[case] for table in dice]))
    assert data["views"][0]["labels"] == ["A (floor)", "B", "C"]
    shown = np.array(data["values"]["none"]["Dice [%]"][0])
    expected = [[100 * table[case] for case in data["cases"]] for table in dice]
    assert np.allclose(shown, expected, atol=0.01)
    assert data["values"]["none"]["volume"][0][0][0] == pytest.approx(900 * 0.625**3 / 1000, rel=1e-3)
    assert data["truth"][0][0] == pytest.approx(1000 * 0.625**3 / 1000, rel=1e-3)
    planned["data"]["other_spacings"] = {data["cases"][1]: [1, 1, 3]}  # a case whose voxels are others
    (folder / "plan.json").write_text(json.dumps(planned))
    data, stored = Page(page_of(folder, out=tmp_path)).data()
    assert data["truth"][0][:2] == pytest.approx([1000 * 0.625**3 / 1000, 3], rel=1e-3)
    sizes = {tuple(stored[number]["spacing"]) for number in stored}
    assert len(sizes) == 2 and (1, 1, 3) in sizes


def test_an_undefined_distance_has_no_number(tmp_path):
    planned = plan([cell("a")], evaluation={"empty": "exclude"})
    table = values(planned, 0)
    table.loc[(table["metric"] == "hd95") & (table["case"] == CASES[2]), "value"] = np.nan
    write_record(write_plan(tmp_path, planned), planned, planned["cells"][0], table)
    data, _ = Page(page_of(tmp_path, out=tmp_path)).data()
    assert data["values"]["none"]["95HD [mm]"][0][0][data["cases"].index(CASES[2])] is None


def test_the_viewer_offers_what_exists_and_opens_what_most_methods_have(tmp_path):
    cells = [cell("a", 4, 1), cell("a", 8, 1), cell("a", 8, 2), cell("b", 8, 2), cell("c", 8, 3, draw=1),
             cell("a", 28, 2, role="ceiling", unlabelled=0)]  # fmt: skip
    shown = choose(read_results(finished(tmp_path, plan(cells), pictures=False)))
    assert [(view.budget, view.run) for view in shown.views] == [
        ("4", "draw first, seed 1"), ("8", "draw first, seed 1"), ("8", "draw first, seed 2"), ("8", "draw 1, seed 3")
    ]  # fmt: skip
    assert (shown.first, shown.main) == (2, [0, 2])
    first = shown.views[shown.first]
    assert [shown.trials[trial] for trial in first.trials] == [cells[n]["trial"] for n in (2, 3, 4, 5)]
    assert first.labels == ["A", "B", "C (draw 1, seed 3)", "A (ceiling)"]
    assert [shown.trials[trial] for trial in shown.views[0].trials] == [cells[n]["trial"] for n in (0, 5)]
    assert shown.views[0].labels == ["A", "A (ceiling) (seed 2)"]
    assert shown.views[0].keys[0] == first.keys[0] != first.keys[3]
    text = Page(page_of(tmp_path, out=tmp_path / "page")).text
    assert (
        "Shown at first: 8 labelled cases, draw first, seed 2. Choose others above the map. A method without the chosen"
        in text
    )


def test_pictures_are_of_every_run_or_if_the_page_is_small_of_one_for_each_budget(tmp_path):
    planned = plan([*cells_of("a", "b"), *cells_of("a", labelled=16, seeds=(1, 2))])
    folder = finished(tmp_path / "r", planned)
    whole = page_of(folder, out=tmp_path / "1")
    data, stored = Page(whole).data()
    assert {tuple(case["trials"]) for case in stored.values()} == {tuple(range(8))}
    taken = {n for view in data["views"] for n in view["trials"]}
    assert taken == set(range(8)) and len(stack_of(stored[0])) == 2 + 8
    small = Page(page_of(folder, out=tmp_path / "2", limit=whole.stat().st_size - 1000))
    data, stored = small.data()
    main = [data["views"][number]["trials"] for number in (0, 3)]
    assert len(stored) == len(CASES) and {tuple(case["trials"]) for case in stored.values()} == {tuple(sum(main, []))}
    assert "pictures are of one run for each number of labelled cases" in small.text
    assert len(data["values"]["none"]["Dice [%]"][0]) == 8, "scores are of all"


# volumes


def by_hand(volume, block):
    """Sums over blocks, voxel by voxel; beyond the far faces the volume goes on as it ends."""
    shape = [-(-size // step) for size, step in zip(volume.shape, block, strict=True)]
    sums = np.zeros(shape, int)
    for place in np.ndindex(*shape):
        for offset in np.ndindex(*block):
            at = [min(p * b + o, size - 1) for p, b, o, size in zip(place, block, offset, volume.shape, strict=True)]
            sums[place] += int(volume[tuple(at)])
    return sums


@pytest.mark.parametrize("native", [(0.625, 0.625, 0.625), (1.25, 1.25, 2.5), (0.4, 0.7, 1.0)])
def test_decoded_volumes_equal_the_reference(tmp_path, native):
    truth = labels((13, 12, 9))
    predicted = labels((13, 12, 9), shift=1.0, island=True)
    image = write_picture(tmp_path, "x", truth)
    write_prediction(tmp_path / "p.npz", predicted, 1)
    found = viewer_volumes.read_volumes(tmp_path / "cases" / "x.npz", [tmp_path / "p.npz"], native, 1)
    decoded = np.frombuffer(gzip.decompress(base64.b64decode(viewer_volumes.packed(found.stack.tobytes()))), np.uint8)
    decoded = decoded.reshape(found.stack.shape).transpose(0, 3, 2, 1)
    block = viewer_volumes.block_size(native)
    most = np.prod(block) / 2
    assert np.array_equal(decoded[0], np.rint(by_hand(image, block) / np.prod(block)))
    assert np.array_equal(decoded[1], by_hand(truth, block) > most)
    assert np.array_equal(decoded[2] % viewer_volumes.REMOVED, by_hand(predicted, block) > most)
    assert np.array_equal(decoded[2] == 1, by_hand(largest_component(predicted, 1), block) > most)
    assert found.spacing == pytest.approx([mm * size for mm, size in zip(native, block, strict=True)])
    assert all(0.7 <= mm <= 1.875 or block == 1 for mm, block in zip(found.spacing, block, strict=True))


def test_structures_are_told_apart(tmp_path):
    truth = labels(classes=2)
    write_picture(tmp_path, "x", truth)
    write_prediction(tmp_path / "p.npz", labels(classes=2, island=True), 2)
    found = viewer_volumes.read_volumes(tmp_path / "cases" / "x.npz", [tmp_path / "p.npz"], (1.25,) * 3, 2)
    assert np.array_equal(found.stack[1], truth.transpose(2, 1, 0))
    assert set(np.unique(found.stack[2])) == {0, 1, 2, 1 + viewer_volumes.REMOVED}


def test_volumes_are_cropped_around_what_was_found(tmp_path):
    truth = ball((90, 60, 40), (45, 30, 20), 4).astype(np.uint8)
    write_picture(tmp_path, "x", truth)
    found = viewer_volumes.read_volumes(tmp_path / "cases" / "x.npz", [], (1.25,) * 3, 1)
    assert found.stack.shape == (2, 9 + 31, 9 + 32, 9 + 32)  # 16 voxels are 20 mm; the slices end before
    assert found.stack[1].sum() == truth.sum()


def test_what_cannot_be_read_is_said_and_the_rest_shown(tmp_path):
    finished(tmp_path / "r", plan([cell("a"), cell("b"), cell("c")]))
    (tmp_path / "r" / "cases" / f"{CASES[0]}.npz").write_bytes(b"PK nonsense")
    predictions = [tmp_path / "r" / "records" / f"{name}-8-1-first" / "predictions" for name in "abc"]
    (predictions[0] / f"{CASES[1]}.npz").unlink()
    write_prediction(predictions[1] / f"{CASES[1]}.npz", np.zeros((3, 3, 3), np.uint8), 1)
    data, stored = Page(page_of(tmp_path / "r", out=tmp_path)).data()
    assert data["cases"].index(CASES[0]) not in stored and len(stored) == len(CASES) - 1
    assert stored[data["cases"].index(CASES[1])]["missing"] == [0, 1]


def test_where_the_page_would_be_too_large_it_has_fewer_cases_and_says_so(folder, tmp_path):
    whole = page_of(folder, out=tmp_path / "1")
    _, stored = Page(whole).data()
    limit = whole.stat().st_size - len(json.dumps(stored[0]))
    path = page_of(folder, out=tmp_path / "2", limit=limit)
    page = Page(path)
    _, fewer = page.data()
    assert path.stat().st_size <= limit and 0 < len(fewer) < len(CASES)
    assert f"Of {len(CASES)} cases with pictures the {len(fewer)} hardest are on this page" in page.text


@pytest.mark.slow
def test_twelve_cases_and_sixteen_methods_stay_below_25_mb(tmp_path, capsys):
    shape, rng = (96, 72, 44), np.random.default_rng(0)  # left atria at 1.25 mm
    truth = labels(shape)
    planned = plan([cell(f"m{number}") for number in range(16)], data={"native_spacing": [1.25] * 3})
    finished(tmp_path / "r", planned, pictures=False)
    for case in CASES:
        (tmp_path / "r" / "cases").mkdir(exist_ok=True)
        image = (rng.normal(100, 20, shape) + 60 * truth).clip(0, 255).astype(np.uint8)  # noise hardly compresses
        np.savez_compressed(tmp_path / "r" / "cases" / f"{case}.npz", image=image, label=truth, content="")
    rough = labels(shape, shift=2) & (rng.random(shape) > 0.02)  # holes: worse than any prediction
    for planned_cell in planned["cells"]:
        predictions = tmp_path / "r" / "records" / planned_cell["trial"] / "predictions"
        predictions.mkdir()
        for case in CASES:
            write_prediction(predictions / f"{case}.npz", rough, 1)
    path = page_of(tmp_path / "r", out=tmp_path)
    _, stored = Page(path).data()
    volumes_size = sum(len(case["data"]) for case in stored.values())
    with capsys.disabled():
        print(f" page {path.stat().st_size / 1e6:.1f} MB, volumes of {len(CASES)} cases {volumes_size / 1e6:.1f} MB ")
    assert path.stat().st_size + volumes_size < LIMIT  # twelve cases are twice these
    assert len(stored) == len(CASES)
