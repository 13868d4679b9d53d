from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch

from mtdense.core.errors import DataError
from mtdense.metrics import OdsF, job_queue
from mtdense.metrics import odsf as module
from mtdense.metrics.functional import edge_counts
from tests.metrics.test_odsf import images, scored


@pytest.fixture
def many_cores(monkeypatch):
    monkeypatch.setattr(job_queue, "_cores", lambda: 4)


@pytest.mark.usefixtures("many_cores")
class TestWorkers:
    def busy(self, monkeypatch) -> tuple[OdsF, threading.Event]:
        """A metric whose threads wait for the event."""
        gate = threading.Event()
        count = edge_counts
        monkeypatch.setattr(module, "edge_counts", lambda *a, **k: (gate.wait(20), count(*a, **k))[1])
        return OdsF(workers=2), gate

    def test_update_does_not_wait_and_every_reader_does(self, monkeypatch):
        made = images(3)
        expected = scored(made).counts.tolist()
        for read in (
            lambda metric: metric.counts,
            lambda metric: metric.metric_state["edge_sums"],
            lambda metric: pickle.loads(pickle.dumps(metric)).counts,
            lambda metric: metric.clone().counts,
            lambda metric: metric._copy_state_dict()["edge_sums"],
            lambda metric: (metric.compute(), metric.edge_sums)[1],
        ):
            metric, gate = self.busy(monkeypatch)
            metric.update([pred for pred, _ in made], [targets for _, targets in made])
            assert not metric.__dict__["edge_sums"].any(), "nothing has been scored yet"
            threading.Timer(0.05, gate.set).start()
            assert read(metric).tolist() == expected
            monkeypatch.undo()
            monkeypatch.setattr(job_queue, "_cores", lambda: 4)

    def test_memory_of_the_batch_may_be_reused(self, monkeypatch):
        pred, targets = images(1)[0]
        expected = scored([(pred, targets)]).counts
        metric, gate = self.busy(monkeypatch)
        metric.update(pred[None], targets[0][None])
        pred.zero_()
        targets[0].zero_()
        gate.set()
        assert torch.equal(metric.counts, expected)

    def test_reset_forgets_images_under_way(self, monkeypatch):
        metric, gate = self.busy(monkeypatch)
        metric.update(*zip(*images(3), strict=True))
        threading.Timer(0.05, gate.set).start()
        metric.reset()
        assert metric.counts.sum() == 0

    def test_an_error_names_its_image_and_stays(self):
        made = images(4)
        metric = OdsF(workers=2)
        metric.update([pred for pred, _ in made[:2]], [targets for _, targets in made[:2]])
        bad = made[3][0].clone()
        bad[0, 0] = float("nan")
        with pytest.raises(DataError, match=r"image 3: .*nan"):
            metric.update([made[2][0], bad], [made[2][1], made[3][1]])
            metric.compute()
        again = (made[0][:1], [made[0][1]])
        for broken in (metric, metric.clone(), copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
            for read in (
                broken.compute,
                lambda broken=broken: broken.counts,
                lambda broken=broken: broken.ois,
                lambda broken=broken: broken.metric_state,
                lambda broken=broken: broken.update([], []),
                lambda broken=broken: broken(*again),
                lambda broken=broken: OdsF().merge_state(broken),
            ):
                with pytest.raises(DataError, match="image 3"):
                    read()
        metric.reset()
        metric.update([made[0][0]], [made[0][1]])
        assert torch.equal(metric.counts, scored(made[:1]).counts)

    @pytest.mark.parametrize(
        "use",
        [
            lambda module: module.train(),
            lambda module: module.to("cpu"),
            copy.deepcopy,
            lambda module: hash(module["odsF"]),
            lambda module: module.state_dict(),
        ],
    )
    def test_only_results_raise_what_a_thread_found(self, monkeypatch, use):
        pred, (target,) = images(1)[0]
        metric, gate = self.busy(monkeypatch)
        module = torch.nn.ModuleDict({"odsF": metric})
        metric.update([pred * 9], [target])
        gate.set()
        use(module)
        with pytest.raises(DataError, match="image 0: an edge prediction holds"):
            metric.compute()

    def test_images_are_numbered_on_after_forward(self):
        pred, (target,) = images(1)[0]
        for workers in (0, 2):
            metric = OdsF(workers=workers)
            metric.update([pred, pred], [target, target])
            metric([pred], [target])
            metric([pred], [target])
            with pytest.raises(DataError, match="image 5: "):
                metric([pred, pred * 9], [target, target])
                metric.compute()
            metric.reset()
            with pytest.raises(DataError, match="image 0: "):
                metric.update([pred * 9], [target])
                metric.compute()
