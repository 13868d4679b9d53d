"""Plans of batches that serve every task: guarantees, repeats, evenness, and what cannot be done."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_modules.balance import BatchPlan, plan_batches
from data_modules.balance_draft import Draft
from mtdense.core.errors import ConfigError
from mtdense.data import LabelMask

Bools = npt.NDArray[np.bool_]
TASKS = ("semseg", "human_parts", "saliency", "normals", "edges")


def drawn(setting: str, images: int, tasks: int, seed: int) -> Bools:
    return LabelMask.draw(setting, [f"{i:05d}" for i in range(images)], TASKS[:tasks], seed).labelled


@st.composite
def tables(draw: st.DrawFn) -> Bools:
    """Label tables of all settings, skewed ones with images that carry no label, too."""
    images, tasks, seed = draw(st.integers(3, 90)), draw(st.integers(1, 5)), draw(st.integers(0, 1000))
    setting = draw(st.sampled_from(["full", "one-label", "random-label", "skewed"]))
    if setting != "skewed":
        return drawn(setting, images, tasks, seed)
    shares = np.array([0.05, 0.2, 0.5, 0.9, 0.4])[:tasks]
    return np.asarray(np.random.default_rng(seed).random((images, tasks)) < shares)


def can_be_planned(labelled: Bools, minimum: int, capacity: int) -> bool:
    """Whether each image is in some batch that serves every task: such batches are a plan, by trying all of them."""
    numbers = range(1, min(capacity, len(labelled)) + 1)
    batches = [list(rows) for number in numbers for rows in combinations(range(len(labelled)), number)]
    served = [rows for rows in batches if (labelled[rows].sum(axis=0) >= minimum).all()]
    return {row for rows in served for row in rows} == set(range(len(labelled)))


def check_epoch(plan: BatchPlan, labelled: Bools, capacity: int, ranks: int, epoch: int) -> Counter[int]:
    batches = plan.draw(5, epoch)
    assert len(batches) == len(plan)
    for rows in batches:
        assert len(set(rows.tolist())) == len(rows)
        assert ranks <= len(rows) <= capacity
        assert (labelled[rows].sum(axis=0) >= plan.minimum).all()
    shown = Counter(int(row) for rows in batches for row in rows)
    assert set(shown) == set(range(len(labelled)))
    assert shown.total() == len(labelled) + sum(plan.top_ups) + plan.fills
    return shown


@settings(max_examples=150, deadline=None)
@given(labelled=tables(), minimum=st.integers(1, 4), batch_size=st.integers(1, 9), ranks=st.integers(1, 4))
def test_every_batch_serves_every_task_or_it_is_said_why_not(
    labelled: Bools, minimum: int, batch_size: int, ranks: int
) -> None:
    if len(labelled) < ranks:
        return
    tasks, capacity = TASKS[: labelled.shape[1]], batch_size * ranks
    counts = labelled.sum(axis=0)
    try:
        plan = plan_batches(labelled, tasks, minimum, batch_size=batch_size, world_size=ranks)
    except ConfigError:
        # m times T images serve all tasks, and one place more takes in all the others: then there must be a plan
        assert counts.min() < minimum or minimum * len(tasks) >= capacity
        return
    assert counts.min() >= minimum
    total: Counter[int] = Counter()
    for epoch in range(3):
        total += check_epoch(plan, labelled, capacity, ranks, epoch)
        for members in plan.members:  # repeats are spread evenly, over all epochs as in one
            times = [total[int(row)] for row in members]
            assert max(times) - min(times) <= 1


@st.composite
def small_tables(draw: st.DrawFn) -> Bools:
    """All label tables of up to six images and five tasks."""
    images, tasks = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    rows = st.lists(st.booleans(), min_size=tasks, max_size=tasks)
    return np.array(draw(st.lists(rows, min_size=images, max_size=images)), dtype=np.bool_)


def limits_named(labelled: Bools, minimum: int, batch_size: int, ranks: int, error: ConfigError) -> None:
    """What the error says to do would do, and is no more than what must be done."""
    lower = re.search(r"(?:lower min_labelled to|Use min_labelled) (\d+)", error.mend)
    limit = int(lower[1]) if lower else 0
    fitting = [m for m in range(1, minimum) if can_be_planned(labelled, m, batch_size * ranks)]
    assert limit == max(fitting, default=0)
    if raised := re.search(r"Raise batch_size to (\d+)", error.mend):
        assert can_be_planned(labelled, minimum, int(raised[1]) * ranks)
        assert not can_be_planned(labelled, minimum, (int(raised[1]) - 1) * ranks)


@settings(max_examples=200, deadline=None)
@given(labelled=small_tables(), minimum=st.integers(1, 3), batch_size=st.integers(1, 5), ranks=st.integers(1, 2))
def test_what_can_be_planned_is_planned_and_nothing_else(
    labelled: Bools, minimum: int, batch_size: int, ranks: int
) -> None:
    if len(labelled) < ranks:
        return
    tasks, capacity = TASKS[: labelled.shape[1]], batch_size * ranks
    possible = can_be_planned(labelled, minimum, capacity)
    try:
        plan = plan_batches(labelled, tasks, minimum, batch_size=batch_size, world_size=ranks)
    except ConfigError as error:
        assert not possible
        limits_named(labelled, minimum, batch_size, ranks, error)
        return
    assert possible
    check_epoch(plan, labelled, capacity, ranks, 0)


@pytest.mark.parametrize(
    ("rows", "minimum", "batch_size"),
    [
        # to take the image with most labels first is to need one more
        (["110110", "100110", "110111", "001001", "111111", "111001", "111111", "011110"], 3, 4),
        (["01101", "11111", "11011", "10110", "11101", "01011", "00010", "01110"], 2, 3),
        (["111010", "000110", "101101", "111001", "011101"], 1, 2),
    ],
)
def test_plans_that_greed_does_not_find(rows: list[str], minimum: int, batch_size: int) -> None:
    labelled = np.array([[cell == "1" for cell in row] for row in rows])
    plan = plan_batches(labelled, "abcdef"[: labelled.shape[1]], minimum, batch_size=batch_size)
    assert len(plan) <= len(rows)
    check_epoch(plan, labelled, batch_size, 1, 0)


def test_the_smaller_of_two_limits_is_named() -> None:
    labelled = np.eye(3, dtype=np.bool_)[[0] * 20 + [1] * 20 + [2] * 3]
    with pytest.raises(ConfigError, match=r"3 of 43 training images are labelled for 'saliency'") as error:
        plan_batches(labelled, TASKS[:3], 4, batch_size=8)
    assert "Use min_labelled 2 at most with batches of 8 images" in error.value.mend
    check_epoch(plan_batches(labelled, TASKS[:3], 2, batch_size=8), labelled, 8, 1, 0)
    with pytest.raises(ConfigError, match="batches of 9 images"):
        plan_batches(labelled, TASKS[:3], 3, batch_size=8)


def test_limits_of_large_batches_are_found_quickly() -> None:
    labelled = drawn("random-label", 3000, 5, 0)
    with pytest.raises(ConfigError, match="at most with batches of 200 images") as error:
        plan_batches(labelled, TASKS, 10**6, batch_size=200)
    assert 120 <= int(re.findall(r"\d+", error.value.mend)[0]) <= 4 * 200 // 5


@settings(max_examples=60, deadline=None)
@given(
    images=st.integers(10, 300),
    tasks=st.integers(1, 5),
    minimum=st.integers(1, 3),
    spare=st.integers(1, 6),
    seed=st.integers(0, 99),
    skewed=st.booleans(),
)
def test_one_label_repeats_no_more_than_it_must(
    images: int, tasks: int, minimum: int, spare: int, seed: int, skewed: bool
) -> None:
    labelled = drawn("one-label", images, tasks, seed)
    if skewed:
        owner = np.random.default_rng(seed).choice(tasks, images, p=np.arange(1, tasks + 1) / sum(range(tasks + 1)))
        labelled = np.eye(tasks, dtype=np.bool_)[owner]
    counts = labelled.sum(axis=0)
    if counts.min() < minimum:
        return
    capacity = minimum * tasks + spare
    plan = plan_batches(labelled, TASKS[:tasks], minimum, batch_size=capacity)
    assert list(plan.top_ups) == [max(0, minimum * len(plan) - int(n)) for n in counts]
    sizes = (plan.places >= 0).sum(axis=1)
    assert sizes.max() - sizes.min() <= 1
    for fewer in range(-(-images // capacity), len(plan)):  # and no smaller number of batches would do
        assert images + sum(max(0, minimum * fewer - int(n)) for n in counts) > fewer * capacity


@pytest.mark.parametrize(("batch_size", "minimum"), [(8, 1), (8, 2), (8, 3), (4, 1)])
def test_random_labels_need_no_repeats_where_there_are_labels_to_spare(batch_size: int, minimum: int) -> None:
    plan = plan_batches(drawn("random-label", 800, 5, 1), TASKS, minimum, batch_size=batch_size)
    assert len(plan) == 800 // batch_size
    assert plan.top_ups == (0,) * 5
    assert ((plan.places >= 0).sum(axis=1) == batch_size).all()


def test_random_labels_without_any_to_spare() -> None:
    labelled = drawn("random-label", 795, 5, 0)  # on average 4 labels of each task among 8 images
    plan = plan_batches(labelled, TASKS, 4, batch_size=8)
    bound = max(0, *(4 * len(plan) - labelled.sum(axis=0)))
    assert sum(plan.top_ups) <= 2 * bound
    assert len(plan) <= 1.1 * 795 / 8
    check_epoch(plan, labelled, 8, 1, 0)


@pytest.mark.parametrize(
    ("images", "minimum", "batch_size", "seed"), [(60, 3, 6, 3), (60, 3, 6, 15), (60, 4, 8, 12), (90, 2, 4, 1)]
)
def test_a_tight_plan_is_even_and_has_no_needless_repeats(
    images: int, minimum: int, batch_size: int, seed: int
) -> None:
    labelled = drawn("random-label", images, 5, seed)
    plan = plan_batches(labelled, TASKS, minimum, batch_size=batch_size)
    sizes = (plan.places >= 0).sum(axis=1)
    assert sizes.max() - sizes.min() <= 1
    spare = [plan.labels[row[row >= 0]].sum(axis=0) - minimum for row in plan.places]
    for pattern, members in enumerate(plan.members):
        if (plan.places == pattern).sum() > len(members):
            for row, left in zip(plan.places, spare, strict=True):
                assert pattern not in row or (left[plan.labels[pattern]] == 0).any()


def test_full_labels_are_never_repeated() -> None:
    plan = plan_batches(np.ones((30, 5), dtype=np.bool_), TASKS, 3, batch_size=4)
    assert len(plan) == 8
    assert plan.top_ups == (0,) * 5
    assert sorted((plan.places >= 0).sum(axis=1)) == [3, 3, *[4] * 6]


def test_repeats_prefer_images_that_serve_two_tasks_but_not_one_image_alone() -> None:
    table = np.zeros((400, 3), dtype=np.bool_)
    table[:10, :2] = True  # both scarce tasks
    table[10:20, 0] = True
    table[20:30, 1] = True
    table[30:, 2] = True
    plan = plan_batches(table, TASKS[:3], 1, batch_size=10)
    shown = check_epoch(plan, table, 10, 1, 0)
    both, single = [sum(shown[i] for i in rows) / 10 for rows in (range(10), range(10, 20))]
    assert both > single
    table[:9, 1] = False  # of the images with both there is but one now
    table[20:29, :2] = (False, True)
    plan = plan_batches(table, TASKS[:3], 1, batch_size=10)
    shown = check_epoch(plan, table, 10, 1, 0)
    assert shown[9] <= len(plan) / 3


def test_repeats_of_an_image_keep_changing_company() -> None:
    table = np.eye(2, dtype=np.bool_)[[0] * 4 + [1] * 96]
    plan = plan_batches(table, TASKS[:2], 2, batch_size=6)
    pairs = Counter(frozenset(row for row in rows.tolist() if row < 4) for rows in plan.draw(0, 0))
    assert len(pairs) == 6
    assert all(len(pair) == 2 for pair in pairs)


def test_epochs_mix_the_plan() -> None:
    labelled = drawn("random-label", 200, 5, 0)
    plan = plan_batches(labelled, TASKS, 1, batch_size=8)

    def company(epoch: int) -> set[int]:  # of image 0, at the level of patterns
        rows = next(rows for rows in plan.draw(0, epoch) if 0 in rows)
        return {pattern for pattern, members in enumerate(plan.members) if np.isin(members, rows).any()}

    assert len({frozenset(company(epoch)) for epoch in range(10)}) == 10
    first = [plan.draw(0, epoch)[0].tolist() for epoch in range(4)]
    assert len({tuple(rows) for rows in first}) == 4
    assert plan.draw(0, 2)[0].tolist() == first[2]
    assert plan.draw(1, 2)[0].tolist() != first[2]


def test_the_first_batch_and_the_first_place_belong_to_no_pattern() -> None:
    labelled = drawn("one-label", 120, 5, 0)
    plan = plan_batches(labelled, TASKS, 1, batch_size=8)
    first = Counter(int(np.flatnonzero(labelled[plan.draw(0, epoch)[0][0]])[0]) for epoch in range(100))
    assert len(first) == 5
    assert max(first.values()) < 40


def test_batches_come_in_another_order_in_every_epoch() -> None:
    plan = plan_batches(drawn("one-label", 33, 5, 0), TASKS, 1, batch_size=8)
    sizes = {tuple(len(rows) for rows in plan.draw(0, epoch)) for epoch in range(20)}
    assert len(sizes) > 5  # of 10 orders of three batches of 7 and two of 6
    assert {tuple(sorted(order)) for order in sizes} == {(6, 6, 7, 7, 7)}


def test_no_more_repeats_are_wanted_than_batches_can_hold() -> None:
    patterns = np.array([[False, True], [True, True]])
    draft = Draft(patterns, np.array([30, 1]), 1, 10)
    draft.add_top_ups(slack=5)
    assert draft.wanted.tolist() == [30, 10]


def small_draft(counts: list[list[int]]) -> Draft:
    """Batches of images with the first task, the second, and both: 5, 5 and 2 there are."""
    draft = Draft(np.array([[True, False], [False, True], [True, True]]), np.array([5, 5, 2]), 1, len(counts))
    draft.counts[:] = counts
    draft.wanted[:] = draft.counts.sum(axis=0)
    return draft


def test_repeats_that_turn_out_needless_are_taken_back() -> None:
    draft = small_draft([[5, 0, 1], [2, 0, 1], [0, 0, 1]])
    draft.added[0] = (2, 0, 1)
    draft.prune()
    assert draft.counts.tolist() == [[3, 0, 1], [2, 0, 1], [0, 0, 1]]  # nothing else has the second task
    assert draft.wanted.tolist() == [5, 0, 3]
    assert draft.added.tolist() == [[0, 0, 1], [0, 0, 0]]


def test_sizes_are_evened_out_as_far_as_labels_allow() -> None:
    draft = small_draft([[5, 3, 1], [0, 2, 1]])
    draft.level()
    assert draft.sizes.tolist() == [6, 6]
    assert not draft.short.any()
    needed = small_draft([[1, 1, 0], [0, 0, 1]])
    needed.level()
    assert needed.sizes.tolist() == [2, 1]


def test_the_last_resort_holds_all_images_for_certain() -> None:
    labelled = np.zeros((50, 2), dtype=np.bool_)
    labelled[:3], labelled[3:20, 0] = True, True  # few images of the second task, all of them full
    patterns, stock = np.unique(labelled, axis=0, return_counts=True)
    draft = Draft(patterns, stock, 2, 25)
    draft.repeat_core(np.array([0, 0, 2]))
    assert draft.sizes.max() == 4
    assert (draft.counts.sum(axis=0) == [30, 17, 50]).all()
    assert not draft.short.any()
    assert draft.added.sum(axis=1).tolist() == [0, 47]


def test_the_last_resort_is_reached() -> None:
    labelled = np.zeros((40, 3), dtype=np.bool_)
    labelled[0] = True  # but for this image, no two labels come together
    labelled[np.arange(1, 40), np.arange(1, 40) % 3] = True
    plan = plan_batches(labelled, TASKS[:3], 1, batch_size=2)
    assert len(plan) == 40
    check_epoch(plan, labelled, 2, 1, 0)


def test_one_image_per_rank_is_filled_up() -> None:
    labelled = drawn("one-label", 21, 2, 0)
    plan = plan_batches(labelled, TASKS[:2], 1, batch_size=1, world_size=4)
    assert len(plan) == 6
    assert sum(plan.top_ups) == 0
    assert plan.fills == 3
    check_epoch(plan, labelled, 4, 4, 0)


def test_too_few_labelled_images() -> None:
    labelled = np.ones((9, 2), dtype=np.bool_)
    labelled[2:, 1] = False
    with pytest.raises(ConfigError, match=r"2 of 9 training images are labelled for 'human_parts'") as error:
        plan_batches(labelled, TASKS[:2], 3, batch_size=6)
    assert "min_labelled 2 at most" in str(error.value)


@pytest.mark.parametrize(
    ("batch_size", "ranks", "minimum", "mend"),
    [
        (4, 1, 1, "Raise batch_size to 5 or more, or leave min_labelled at 0."),
        (8, 1, 2, "Raise batch_size to 10 or more, or lower min_labelled to 1."),
        (4, 3, 3, "Raise batch_size to 5 or more, or lower min_labelled to 2."),
    ],
)
def test_batches_too_small_for_all_tasks(batch_size: int, ranks: int, minimum: int, mend: str) -> None:
    labelled = drawn("one-label", 100, 5, 0)
    with pytest.raises(ConfigError, match=re.escape(mend)):
        plan_batches(labelled, TASKS, minimum, batch_size=batch_size, world_size=ranks)
    needed = int(re.findall(r"\d+", mend)[0])
    check_epoch(
        plan_batches(labelled, TASKS, minimum, batch_size=needed, world_size=ranks), labelled, needed * ranks, ranks, 0
    )


def test_no_room_for_images_without_a_label() -> None:
    labelled = np.concatenate([drawn("one-label", 50, 5, 0), np.zeros((3, 5), dtype=np.bool_)])
    with pytest.raises(ConfigError, match=r"batches of 6 images, but batch_size 5 on 1 device makes 5"):
        plan_batches(labelled, TASKS, 1, batch_size=5)
    check_epoch(plan_batches(labelled, TASKS, 1, batch_size=6), labelled, 6, 1, 0)
    check_epoch(plan_batches(labelled[:50], TASKS, 1, batch_size=5), labelled[:50], 5, 1, 0)
