"""Which cases are labelled."""

import hashlib
from pathlib import Path

import pytest

import data.la
from data.case import DataError
from data.splits import (
    Fold,
    ListFiles,
    Share,
    divide,
    labelled_ids,
    patients,
    read_lists,
    split_hash,
    unlabelled_ids,
)  # fmt: skip

IDS = [f"case-{i}" for i in range(80)]


@pytest.fixture(scope="module")
def official():
    lists = Path(data.la.__file__).parent / "lists"
    return [(lists / f"la_{part}.list").read_text().split() for part in ("train", "test")]


def test_official_lists_are_the_published_split(official):
    train, test = official
    assert (len(set(train)), len(set(test))) == (80, 20)
    assert not set(train) & set(test)


def test_first_is_what_the_papers_call_labelled(official):
    sixteen = labelled_ids(official[0], 16, "first")
    assert sixteen == official[0][:16]
    assert (sixteen[0], sixteen[15]) == ("06SR5RBREL16DQ6M8LWS", "5BHTH9RHH3PQT913I59W")
    assert labelled_ids(official[0], 8, "first")[-1] == "38CWS74285MFGZZXR09Z"


@pytest.mark.parametrize("draw", ["first", 0, 1])
def test_fractions_of_one_draw_are_nested(draw):
    draws = [labelled_ids(IDS, count, draw) for count in (4, 8, 16, 80)]
    for few, many in zip(draws, draws[1:], strict=False):
        assert set(few) < set(many)
    assert [len(set(ids)) for ids in draws] == [4, 8, 16, 80]


def test_draws_differ_and_repeat():
    assert set(labelled_ids(IDS, 8, 0)) != set(labelled_ids(IDS, 8, 1)) != set(labelled_ids(IDS, 8, "first"))
    assert labelled_ids(IDS, 8, 0) == labelled_ids(IDS, 8, 0)


@pytest.mark.parametrize("count", [0, 81])
def test_impossible_counts_are_refused(count):
    with pytest.raises(DataError, match=f"{count} labelled cases asked for, but there are 80 training cases"):
        labelled_ids(IDS, count, "first")


def test_unlabelled_are_the_rest_in_order():
    labelled = labelled_ids(IDS, 16, 3)
    rest = unlabelled_ids(IDS, labelled)
    assert rest == sorted(rest, key=IDS.index) and set(rest) == set(IDS) - set(labelled)


def test_split_hash_sees_cases_and_order():
    hashes = {split_hash(IDS, ["a"]), split_hash(IDS[::-1], ["a"]), split_hash(IDS, ["b"]), split_hash([*IDS, "a"], [])}
    assert len(hashes) == 4
    assert split_hash(IDS, ["a"]) == split_hash(list(IDS), ["a"])


@pytest.mark.parametrize(
    ("name", "md5"),
    [("la_train.list", "ded9b3bf69cd44ddeda212e30a9f5b00"), ("la_test.list", "c8b450d0ab549f4c1e8bcecec45f0209")],
)
def test_the_official_lists_are_those_of_the_released_codes(name, md5):
    assert hashlib.md5((Path(data.la.__file__).parent / "lists" / name).read_bytes()).hexdigest() == md5


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_each_case_is_tested_in_one_fold(folds):
    tested = []
    for fold in range(folds):
        train, test = divide(IDS, Fold(folds=folds, fold=fold, seed=3))
        assert sorted([*train, *test]) == sorted(IDS) and abs(len(test) - len(IDS) / folds) < 1
        assert train == [case for case in IDS if case in train]
        tested += test
    assert sorted(tested) == sorted(IDS)


def test_a_share_is_as_large_as_asked_and_its_seed_decides_it():
    train, test = divide(IDS, Share(test=0.25, seed=1))
    assert (len(train), len(test)) == (60, 20)
    assert divide(IDS, Share(test=0.25, seed=1))[1] == test != divide(IDS, Share(test=0.25, seed=2))[1]
    assert len(divide(IDS, Share(test=0.001))[1]) == 1


def test_a_patient_is_on_one_side():
    patient_of = patients(r"case-\d")  # case-1 and case-10 to case-19 are one patient's
    for split in (Share(test=0.3), Fold(folds=4, fold=1)):
        train, test = divide(IDS, split, patient_of)
        assert train and test and not {case[:6] for case in train} & {case[:6] for case in test}


def test_the_first_group_names_the_patient_where_there_is_one():
    assert patients(r"(\d+)_frame")("patient_12_frame3") == "12"
    assert patients(None)("anything") == "anything"
    with pytest.raises(DataError, match="finds no patient in the name of case 'other'"):
        patients(r"\d+")("other")


def test_a_split_that_leaves_nothing_is_refused():
    with pytest.raises(DataError, match="leaves 0 cases for training and 3 for testing"):
        divide(IDS[:3], Share(test=0.99))


@pytest.mark.parametrize("draw", ["first", 0, 4])
def test_leaving_out_cases_that_a_draw_does_not_use_changes_nothing(draw):
    chosen = labelled_ids(IDS, 8, draw)
    others = [case for case in IDS if case not in chosen][::3]
    assert labelled_ids(IDS, 8, draw, others) == chosen
    assert not set(labelled_ids(IDS, 80 - len(others), draw, others)) & set(others)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a\n" + "x" * 10**6, "has 1000000 bytes"),
        ("a\n" + "x" * 300, "has 300 bytes"),
        ("a\nb\0", r"must not hold '\\x00'"),
        ("a\nb\x1b[31m", r"must not hold '\\x1b'"),
        ("/" * 10**5 + "x", "is a path"),
        ("a\nA\n", "differ only in case"),
        ("\n".join(["x" * 199 + str(i) for i in range(9)] * 2), "names cases twice"),
    ],
)
def test_a_list_that_names_what_cannot_be_a_case(tmp_path, content, words):
    (tmp_path / "train").write_text(content)
    (tmp_path / "test").write_text("c\n")
    with pytest.raises(DataError, match=words) as error:
        read_lists(tmp_path, ListFiles(train="train", test="test"))
    assert str(tmp_path / "train") in str(error.value) and len(str(error.value)) < 1000


@pytest.mark.parametrize("name", ["\0", "x" * 5000, ".", "", "nowhere"])
def test_a_list_file_that_cannot_be(tmp_path, name):
    (tmp_path / "test").write_text("c\n")
    with pytest.raises(DataError, match="cannot read the list file"):
        read_lists(tmp_path, ListFiles(train=name, test="test"))


def test_long_lists_are_read_in_one_pass(tmp_path):
    """A count of every line for every line would take hours."""
    (tmp_path / "train").write_text("\n".join(f"case-{i}" for i in range(100_000)))
    (tmp_path / "test").write_text("c\n")
    train, _ = read_lists(tmp_path, ListFiles(train="train", test="test"))
    assert len(train) == 100_000
