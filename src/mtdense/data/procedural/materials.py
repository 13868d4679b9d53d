"""Surface materials: two colours, a texture, a gloss and a glow, drawn from plausible palettes."""

from __future__ import annotations

import colorsys
from typing import NamedTuple

from mtdense.data.procedural.draws import Draws
from mtdense.data.procedural.textures import Texture

__all__ = ["RGB", "Material", "Palette", "albedo", "plain"]

RGB = tuple[float, float, float]


class Material(NamedTuple):
    """What a surface looks like.

    Args:
        first: Main colour, linear albedo.
        second: Other colour of the texture, linear albedo.
        texture: One of `Texture`.
        scale: Size of the texture's pattern in metres.
        seed: Whole number that varies the texture.
        gloss: Strength of the highlight.
        glow: Radiance of the surface as a multiple of its colour (lamps, screens, the sky in a window).
    """

    first: RGB
    second: RGB
    texture: int = Texture.PLAIN
    scale: float = 0.1
    seed: int = 0
    gloss: float = 0.0
    glow: float = 0.0


def albedo(hue: float, saturation: float, value: float) -> RGB:
    """Linear albedo of a colour given as it looks on a screen (hue, saturation and value in [0, 1])."""
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return r * r, g * g, b * b


def plain(colour: RGB, gloss: float = 0.0, glow: float = 0.0) -> Material:
    """A material of one colour."""
    return Material(colour, colour, Texture.PLAIN, 0.1, 0, gloss, glow)


class Palette:
    """Draws materials for one scene; everything but the accent keeps to restrained saturations."""

    def __init__(self, draws: Draws) -> None:
        self.draws = draws
        self.hue = draws.unit()
        self.wood_tone = draws.unit()

    def seed(self) -> int:
        """A whole number that varies a texture."""
        return self.draws.integer(0, 9999)

    def wood(self) -> Material:
        """Wood; the pieces of one room are related, not equal."""
        d = self.draws
        tone = min(max(self.wood_tone + d.uniform(-0.25, 0.25), 0.0), 1.0)
        hue, saturation, value = d.uniform(0.055, 0.1), d.uniform(0.3, 0.6), 0.35 + 0.5 * tone
        if d.chance(0.22):  # painted wood
            light = plain(albedo(d.unit(), d.uniform(0.0, 0.15), d.uniform(0.75, 0.95)), d.uniform(0.0, 0.15))
            return light
        dark = albedo(hue - 0.01, saturation + 0.05, value * d.uniform(0.65, 0.8))
        return Material(
            albedo(hue, saturation, value), dark, Texture.WOOD, d.uniform(0.3, 0.7), self.seed(), d.uniform(0.0, 0.25)
        )

    def textile(self, saturation: float = 0.5) -> Material:
        """Cloth, in one colour or with a pattern."""
        d = self.draws
        hue = d.unit()
        first = albedo(hue, d.uniform(0.05, saturation), d.uniform(0.35, 0.9))
        second = albedo(hue + d.uniform(-0.12, 0.12), d.uniform(0.05, saturation), d.uniform(0.3, 0.95))
        texture = d.choice(
            (Texture.FABRIC, Texture.FABRIC, Texture.FABRIC, Texture.STRIPES, Texture.PLAID, Texture.DOTS)
        )
        scale = 0.012 if texture == Texture.FABRIC else d.uniform(0.08, 0.25)
        return Material(first, second, texture, scale, self.seed())

    def upholstery(self) -> Material:
        """Cover of a sofa or a chair: mostly one colour."""
        d = self.draws
        if d.chance(0.2):
            return self.textile()
        first = albedo(d.unit(), d.uniform(0.05, 0.45), d.uniform(0.25, 0.85))
        return Material(first, first, Texture.FABRIC, 0.012, self.seed(), d.uniform(0.0, 0.08))

    def metal(self) -> Material:
        """Painted or bare metal."""
        d = self.draws
        return plain(albedo(d.unit(), d.uniform(0.0, 0.08), d.choice((0.18, 0.35, 0.6, 0.8))), d.uniform(0.2, 0.5))

    def ceramic(self) -> Material:
        """Vases, mugs, bowls, bottles."""
        d = self.draws
        first = albedo(d.unit(), d.uniform(0.05, 0.5), d.uniform(0.35, 0.95))
        if d.chance(0.25):
            second = albedo(d.unit(), d.uniform(0.05, 0.5), d.uniform(0.35, 0.95))
            return Material(first, second, Texture.STRIPES, d.uniform(0.04, 0.09), self.seed(), d.uniform(0.1, 0.4))
        return plain(first, d.uniform(0.1, 0.4))

    def accent(self) -> Material:
        """The one pure, bright colour of the scene."""
        d = self.draws
        first = albedo(d.choice((0.0, 0.02, 0.08, 0.14, 0.3, 0.42, 0.55, 0.62, 0.78, 0.9)), d.uniform(0.88, 1.0), 0.95)
        return plain(first, d.uniform(0.05, 0.3))

    def leaves(self) -> Material:
        """Foliage."""
        d = self.draws
        hue = d.uniform(0.24, 0.38)
        first, second = albedo(hue, d.uniform(0.4, 0.7), 0.55), albedo(hue + 0.02, 0.6, 0.25)
        return Material(first, second, Texture.LEAVES, d.uniform(0.03, 0.06), self.seed())
