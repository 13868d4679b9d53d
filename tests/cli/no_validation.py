"""Data without a validation split."""

from __future__ import annotations

from data_modules import ProceduralDataModule


class NoValidation(ProceduralDataModule):
    """Rooms of which none are held out, as with `val_fraction: 0` of other data."""

    @property
    def has_validation(self) -> bool:
        return False
