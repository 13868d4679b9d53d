"""Lightning's trainer, with options that tell a number of batches from a share of them."""

from __future__ import annotations

from typing import Any

import lightning as L

__all__ = ["Trainer"]


class Trainer(L.Trainer):
    """Lightning's own, for the command line: 1 is one batch there, too, and 1.0 all of them.

    The parser takes the first type of a union that fits, and `typing` may give Lightning's `Union[int, float]` in the
    order in which somebody wrote it before: "1" then becomes 1.0.

    Args:
        limit_train_batches: Batches of an epoch, or their share; None: all.
        limit_val_batches: Likewise, of a validation.
        limit_test_batches: Likewise, of a test.
        limit_predict_batches: Likewise, of a prediction.
        overfit_batches: Batches that training and validation see alone, or their share; 0: all.
        **options: All others.
    """

    def __init__(
        self,
        *,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(
            limit_train_batches=limit_train_batches,
            limit_val_batches=limit_val_batches,
            limit_test_batches=limit_test_batches,
            limit_predict_batches=limit_predict_batches,
            overfit_batches=overfit_batches,
            **options,
        )
