"""TIF as a LightningModule."""

from __future__ import annotations

from typing import Any, ClassVar, cast, get_args

import torch
from torch import Tensor, nn

from mtdense.data.sample import Batch
from mtdense.models.base import DenseModule
from mtdense.models.diagnosis import Diagnosis, draw_tables
from mtdense.models.outputs import Outputs
from mtdense.models.tif.distances import DISTANCES, attention_divergence, places_inside, task_distance
from mtdense.models.tif.figures import draw_maps
from mtdense.models.tif.lthd import resize_attention
from mtdense.models.tif.network import TIFNetwork
from mtdense.models.tif.options import (
    Diffusion,
    DistanceFeatures,
    DistanceMetric,
    Distillation,
    FFNNorm,
    Fuse,
    KeyTerms,
    Mixing,
    Pool,
    PresetName,
    QueryFrom,
    SAInput,
    SAResize,
    Share,
    TaskProjection,
    TIFOptions,
    TokenNorm,
)
from mtdense.tasks.base import ArrayAny

__all__ = ["TIF"]


class TIF(DenseModule):
    """Task-interaction-free multi-task learning (ACM MM 2024, doi 10.1145/3664647.3681183).

    No code was published. What text or counts speak for is marked "inferred", what nothing does "assumed"; A1 to A14
    are the open questions in the README of this folder.

    Args:
        preset: `paper` reads the text literally, `config_a` fits the printed counts best but contradicts it,
            `config_b` gives each task a projection of its own and is for comparing self- with cross-distillation;
            `small` is 64 wide, `tiny` 16 wide, for tests. Chooses what is null below.
        width: Decoder width d: 128, on HRNet-W18 92, 96 or 88 (`paper`, `config_a`, `config_b`). [inferred]
        sa_input: What scale alignment reads: the `reduced` maps XL^j or the `raw` ones X^j of the backbone. [inferred]
        sa_width: Width of the aligned map Y^i: d (`full`) or d / 2 (`half`).
        sff_hidden: Width between the two convolutions of SFF: d or d / 2. [inferred]
        task_proj: How a task's map comes from the shared one: `none`, or `conv1x1`, batch norm and ReLU per task and
            scale. [inferred, A1]
        num_heads: Attention heads; 1 is the literal equation. [assumed, A5]
        saff_scales: Scales with SAFF, 0 the finest; null: all. Elsewhere the reduced map goes on. Table 9: [], [2, 3],
            null. (A11)
        sa_resize: How alignment shrinks maps: `bilinear` or `adaptive_average`; it enlarges bilinearly. [inferred]
        sa_norm: Batch norm behind alignment's convolution. [assumed]
        sfd_scales: Low scales with SFD; null: both. Table 7: [], [3] (the scale is inferred, A11), null.
        distillation: Keys and values of SFD from the task itself (`self`) or from all tasks (`cross`, Tables 1 and 8).
        query_from: Equation 7 names the first task's map where the text means the task's `own`. (A3)
        key_terms: Terms of equation 6: as many as `tasks`, or one more. [inferred, A2]
        folded: One map in place of the sum in equation 6, for inference; weights of an unfolded network are added up
            when loaded, and the outputs are the same. `fold` does this to a network that is there. (A2)
        attention_scaling: Divide scores by the root of a head's width. [inferred, A4]
        token_norm: "Flat" is a LayerNorm shared by queries and keys (`layer`), one for each (`separate`), or nothing.
            [inferred, A8]
        ffn_norm: LayerNorm of the feed-forward layers: `pre`, `post` or `none`. [inferred, A14]
        sfd_ffn_ratio: Hidden width of SFD's feed-forward layer over d. [inferred]
        linear_bias: Biases in the linear maps of queries, keys and values. [inferred]
        lthd: `on`; `keep` passes the high scales on as they are; `drop` leaves `dropped_scale` out of the last fusion,
            though all before it still runs, which fits the costs printed beside Table 8. [inferred, A10]
        lthd_scales: High scales with LTHD, all with the same attention; null: both, though the equations are given for
            scale 0 only. [inferred]
        dropped_scale: See `lthd`. [assumed, A10]
        lthd_mixing: Equation 12 as softmax(A) P W (`rows`), or with the transposed softmax (`columns`). [inferred, A6]
        lthd_pool: `average` or `max`. [assumed, A7]
        lthd_ffn_ratio: Hidden width of LTHD's feed-forward layer over d. [inferred]
        lthd_ffn_residual: Add the input of that layer; equation 13 does not. (A14)
        lthd_fuse: FeatureFuse of equation 13 reads the `sum` of its two maps or both (`concat`). [inferred]
        detach_attention: Stop LTHD's gradient at the attention. [assumed: no, A6]
        fuse_activation: ReLU at the end of both FeatureFuse, which the paper gives convolution and batch norm. [ours]
        fusion_width: Channels that a head reads; null: an eighth of the backbone's channels together. [inferred]
        distance_metric: Of `task_distances`: `cosine`, `l2`, `cka` or `attention`. [assumed]
        distance_features: What is compared: maps behind SFD (`refined`) or in front of it (`input`). [inferred]
        kwargs: See `DenseModule`.

    Raises:
        ConfigError: An option of unknown value or out of range, or options that contradict each other.
    """

    method: ClassVar[str] = "tif"

    def __init__(
        self,
        preset: PresetName = "paper",
        width: int | None = None,
        sa_input: SAInput | None = None,
        sa_width: Share | None = None,
        sff_hidden: Share | None = None,
        task_proj: TaskProjection | None = None,
        num_heads: int = 4,
        saff_scales: list[int] | None = None,
        sa_resize: SAResize = "bilinear",
        sa_norm: bool = True,
        sfd_scales: list[int] | None = None,
        distillation: Distillation = "self",
        query_from: QueryFrom = "own",
        key_terms: KeyTerms = "tasks",
        folded: bool = False,
        attention_scaling: bool = True,
        token_norm: TokenNorm = "layer",
        ffn_norm: FFNNorm = "pre",
        sfd_ffn_ratio: float = 1.0,
        linear_bias: bool = False,
        lthd: Diffusion = "on",
        lthd_scales: list[int] | None = None,
        dropped_scale: int = 0,
        lthd_mixing: Mixing = "rows",
        lthd_pool: Pool = "average",
        lthd_ffn_ratio: float = 1.0,
        lthd_ffn_residual: bool = False,
        lthd_fuse: Fuse = "sum",
        detach_attention: bool = False,
        fuse_activation: bool = True,
        fusion_width: int | None = None,
        distance_metric: DistanceMetric = "cosine",
        distance_features: DistanceFeatures = "refined",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)

    def build_network(self) -> nn.Module:
        """The network of `preset` and options on the chosen backbone."""
        h = self.hparams
        options = TIFOptions.of(h)
        backbone = self.build_backbone()
        outputs = {name: task.num_outputs for name, task in self.tasks.items()}
        return TIFNetwork(backbone, outputs, options)

    @property
    def _network(self) -> TIFNetwork:
        return cast(TIFNetwork, self.network)

    def fold(self) -> TIF:
        """Merges the sum of maps in equation 6 into one, for faster inference; outputs stay the same.

        In place; a checkpoint written afterwards is one of a folded network.

        Raises:
            ConfigError: `distillation: cross` has nothing to merge.
        """
        self._network.fold()
        self.hparams["folded"] = True
        return self

    # ---- figures 6 and 7 -------------------------------------------------------------------------------------------
    @torch.no_grad()
    def task_distances(self, batch: Batch, outputs: Outputs, metric: DistanceMetric | None = None) -> dict[int, Tensor]:
        """Figure 6 in numbers: {scale: distance between each two tasks, (B, T, T)}, at the scales with SFD.

        Places outside the image count nothing. Tasks stand in the model's order.

        Args:
            batch: Images.
            outputs: Of this network for them.
            metric: Null takes the option `distance_metric`.
        """
        h, features = self.hparams, outputs.features
        metric = metric or cast(DistanceMetric, h["distance_metric"])
        canvas = (batch["image"].shape[-2], batch["image"].shape[-1])
        distances = {}
        for scale in self._network.options.sfd_scales:
            maps = [maps[scale] for maps in features["task_maps"].values()]
            grid = (maps[0].shape[-2], maps[0].shape[-1])
            places = places_inside(batch["meta"]["content"], canvas, grid)
            if metric == "attention":
                scores = list(self._network.attention(scale, features["task_maps"]).values())
                distances[scale] = attention_divergence(scores, places)
                continue
            if h["distance_features"] == "refined":
                maps = [maps[scale] for maps in features["refined"].values()]
            distances[scale] = task_distance(maps, metric, places)
        return distances

    @torch.no_grad()
    def diagnostics(self, batch: Batch, outputs: Outputs) -> dict[str, Diagnosis]:
        """Figures 6 and 7 in numbers, image by image; a network without SFD or LTHD has none of them.

        * `task_distance/<metric>/scale_<i>`: (B, T, T), see `task_distance` and `attention_divergence`;
        * `lthd_change/scale_<i>`: (B, T), mean over places of 1 - cos of a task's feature before and after LTHD.
        """
        options, features = self._network.options, outputs.features
        numbers = {}
        where = "behind SFD" if self.hparams["distance_features"] == "refined" else "in front of SFD"
        for metric in get_args(DistanceMetric):
            about = f"{DISTANCES[metric]}{'' if metric == 'attention' else f', {where}'}"
            for scale, values in self.task_distances(batch, outputs, metric).items():
                numbers[f"task_distance/{metric}/scale_{scale}"] = Diagnosis(about, values)
        canvas = (batch["image"].shape[-2], batch["image"].shape[-1])
        for scale in options.lthd_scales if options.lthd == "on" else ():
            changes = []
            for name in self.tasks:
                pair = [features[table][name][scale] for table in ("task_maps", "refined")]
                places = places_inside(batch["meta"]["content"], canvas, (pair[0].shape[-2], pair[0].shape[-1]))
                changes.append(task_distance(pair, "cosine", places)[:, 0, 1])
            about = "1 - cosine of a task's feature before and after LTHD, mean over places"
            numbers[f"lthd_change/scale_{scale}"] = Diagnosis(about, torch.stack(changes, dim=1))
        return numbers

    def figures(self, batch: Batch, outputs: Outputs) -> dict[str, ArrayAny]:
        """Pictures of what SFD and LTHD do; a network without them has none.

        * `task_distance` (figure 6): mean over the batch, a table per scale, the coarsest first.
        * `lthd` (figure 7), first image, a row per task: norm of the scale-0 map before and after LTHD, and the three
          main directions of both as colours.
        * `lthd_attention`, first image, a row per task: where the centre of the image looks to by up(A^3), A^2 and
          their sum.
        """
        options, features = self._network.options, outputs.features
        pictures: dict[str, ArrayAny] = {}
        if options.sfd_scales:
            distances = {i: d.mean(0).cpu() for i, d in self.task_distances(batch, outputs).items()}
            tables = {f"scale {i}": distances[i].numpy() for i in sorted(distances, reverse=True)}
            pictures["task_distance"] = draw_tables(tables, list(self.tasks))
        if options.lthd == "on":
            scale = options.lthd_scales[0]
            both = features["task_maps"], features["refined"]
            pairs = [[maps[name][scale][0].detach() for maps in both] for name in self.tasks]
            pictures["lthd"] = draw_maps([{"norm": pair, "pca": pair} for pair in pairs])
            rows = self._attention_of_centre(batch, outputs)
            pictures["lthd_attention"] = draw_maps([{"share": row} for row in rows])
        return pictures

    @torch.no_grad()
    def _attention_of_centre(self, batch: Batch, outputs: Outputs) -> list[list[Tensor]]:
        """For each task the (1, h_2, w_2) attention of the first image's centre by each scale, and by their sum."""
        options = self._network.options
        maps = {name: [x[:1] for x in maps] for name, maps in outputs.features["task_maps"].items()}
        grids = {i: (x.shape[-2], x.shape[-1]) for i, x in enumerate(next(iter(maps.values())))}
        top, left, height, width = batch["meta"]["content"][0].tolist()
        rows, columns = grids[2]
        row = int((top + height / 2) / batch["image"].shape[-2] * rows)
        place = row * columns + int((left + width / 2) / batch["image"].shape[-1] * columns)
        scores = {i: self._network.attention(i, maps) for i in sorted(options.sfd_scales, reverse=True)}
        drawn = []
        for name in self.tasks:
            own = [resize_attention(scores[i][name], grids[i], grids[2])[0, :, place] for i in scores]
            own += [own[0] + own[1]] if len(own) == 2 else []
            drawn.append([a.softmax(-1).mean(0).unflatten(0, grids[2])[None] for a in own])
        return drawn
