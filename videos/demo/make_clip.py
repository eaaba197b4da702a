"""Draw the demo media: the clip "Sundarbans at dusk" and three posters.

What it makes, next to this file:

    clip.mp4              30 s, 1280x720, 25 fps, H.264 and AAC mono, made to loop
    poster-live.webp      the dusk of the clip
    poster-past.webp      the same river at night, with a moon and fireflies
    poster-upcoming.webp  the same river at dawn, in mist

What it needs: Python 3.13, Pillow, numpy, and ffmpeg (with libx264) on the PATH.

How to run it:

    python make_clip.py             everything (a few minutes)
    python make_clip.py posters     only the posters
    python make_clip.py still 12.5  one frame of the clip, as still.png, to look at

Everything is drawn here, so there is no footage and no font to license: the
clock uses the typeface that comes inside Pillow. All chance is seeded, so a
second run draws the same picture. Every motion repeats after LENGTH seconds,
and the sound is periodic too, so the clip loops without a jump: the sun sinks
for most of it and comes back, gently, in the last seconds.
"""

import math
import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HERE = Path(__file__).resolve().parent

W, H = 1280, 720
FPS = 25
LENGTH = 30.0
RETURN = 6.5  # seconds at the end in which the sun comes back
HORIZON = 448  # the row where the far shore meets the water
MARGIN = 32  # how far a layer reaches outside the frame, for the parallax
VIDEO_KBPS = 129
AUDIO_KBPS = 24
POSTER_LIMIT = 60_000

TAU = 2 * math.pi


# --- Light -----------------------------------------------------------------


@dataclass(frozen=True)
class Mood:
    """One time of day: its colours, and where its sun or moon stands."""

    sky: tuple  # (share of the way down to the horizon, colour) stops
    glow: str  # the light around the sun, and how strong and wide it is
    glow_strength: float
    glow_size: tuple
    disc: tuple  # colour at the top and at the bottom of the sun or moon
    disc_radius: float
    disc_x: float
    disc_y: tuple  # where it starts and where it has sunk to
    cloud: str
    cloud_strength: float
    ranges: tuple  # the three layers of the far shore, far to near
    near: tuple  # the bank in front: its top and its foot
    water_tint: str
    water_depth: tuple  # how much of the tint: at the horizon, at the bottom
    glitter: str
    glitter_strength: float
    mist: str
    mist_strength: float
    stars: int = 0
    fireflies: int = 0
    flip: bool = False  # mirror the bank in front, for another composition


DUSK = Mood(
    sky=(
        (0.00, "#141d3d"),
        (0.30, "#2f2950"),
        (0.58, "#5d375f"),
        (0.78, "#98506a"),
        (0.91, "#d07a5f"),
        (1.00, "#eea468"),
    ),
    glow="#ffb469",
    glow_strength=0.62,
    glow_size=(420, 150),
    disc=("#ffe2a6", "#ffb877"),
    disc_radius=58,
    disc_x=846,
    disc_y=(350, 396),
    cloud="#f2916f",
    cloud_strength=0.34,
    ranges=("#71405f", "#472a4d", "#271a38"),
    near=("#150e20", "#0c0814"),
    water_tint="#1a1530",
    water_depth=(0.10, 0.80),
    glitter="#ffd394",
    glitter_strength=0.95,
    mist="#f0996c",
    mist_strength=0.20,
)

NIGHT = Mood(
    sky=(
        (0.00, "#060b1c"),
        (0.35, "#0d1732"),
        (0.70, "#1b2b50"),
        (1.00, "#3a4f78"),
    ),
    glow="#9fb6dd",
    glow_strength=0.42,
    glow_size=(250, 190),
    disc=("#f6f3e6", "#dfe2e6"),
    disc_radius=44,
    disc_x=846,
    disc_y=(178, 178),
    cloud="#8197c4",
    cloud_strength=0.16,
    ranges=("#2b3d63", "#192747", "#0d162c"),
    near=("#070c19", "#04070f"),
    water_tint="#070e20",
    water_depth=(0.15, 0.78),
    glitter="#e6ecf6",
    glitter_strength=0.75,
    mist="#7f97c4",
    mist_strength=0.22,
    stars=330,
    fireflies=34,
)

DAWN = Mood(
    sky=(
        (0.00, "#5f86ab"),
        (0.28, "#8ea3bd"),
        (0.55, "#c9b3bd"),
        (0.78, "#efbfae"),
        (1.00, "#ffdcae"),
    ),
    glow="#fff0c8",
    glow_strength=0.75,
    glow_size=(420, 170),
    disc=("#fffbe9", "#ffeabb"),
    disc_radius=50,
    disc_x=452,
    disc_y=(372, 372),
    cloud="#ffd9c2",
    cloud_strength=0.50,
    ranges=("#b09cb0", "#7f7a97", "#535a78"),
    near=("#2c3350", "#1c2238"),
    water_tint="#3d4c70",
    water_depth=(0.08, 0.62),
    glitter="#fff6da",
    glitter_strength=0.90,
    mist="#ffe6cf",
    mist_strength=0.62,
    flip=True,
)


def rgb(code):
    """'#rrggbb' as three floats from 0 to 1."""
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)], np.float32) / 255


def smooth(x, low=0.0, high=1.0):
    """0 below low, 1 above high, and an S curve between them."""
    x = np.clip((x - low) / (high - low), 0, 1)
    return x * x * (3 - 2 * x)


def mix(picture, colour, alpha):
    """Lay a colour over a picture, in place."""
    picture += (colour - picture) * alpha


YY, XX = np.mgrid[0:H, 0:W].astype(np.float32)


# --- Silhouettes: drawn large with Pillow, then scaled down ------------------


class Layer:
    """A silhouette that may slide sideways by fractions of a pixel.

    It is drawn at four times the size and kept at twice the size, so that its
    edge stays equally soft wherever it slides.
    """

    BIG = 4

    def __init__(self, draw_it, top, bottom, mirrored=False):
        self.top, self.bottom = top, bottom
        big = self.BIG
        image = Image.new("L", ((W + 2 * MARGIN) * big, (bottom - top) * big))
        draw_it(Pen(ImageDraw.Draw(image), big, MARGIN, -top))
        if mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        self.mask = np.asarray(image.reduce(big // 2), np.float32) / 255

    def at(self, shift):
        """The coverage (rows, W) with the layer moved right by shift pixels."""
        start = 2 * (MARGIN - shift)
        whole = math.floor(start)
        part = start - whole
        wide = (1 - part) * self.mask[:, whole : whole + 2 * W]
        if part:
            wide = wide + part * self.mask[:, whole + 1 : whole + 1 + 2 * W]
        rows = self.bottom - self.top
        return wide.reshape(rows, 2, W, 2).mean(axis=(1, 3))


class Pen:
    """Draws in the pixels of the frame on a larger canvas."""

    def __init__(self, draw, scale, dx, dy):
        self.draw, self.scale, self.dx, self.dy = draw, scale, dx, dy

    def points(self, points):
        s = self.scale
        return [((x + self.dx) * s, (y + self.dy) * s) for x, y in points]

    def shape(self, points):
        self.draw.polygon(self.points(points), fill=255)

    def blob(self, x, y, rx, ry):
        self.draw.ellipse(self.points([(x - rx, y - ry), (x + rx, y + ry)]), fill=255)

    def limb(self, points, thick, thin):
        """A curve through control points that grows thinner."""
        steps = 26
        self.blob(*points[0], thick / 2, thick / 2)
        for i in range(steps):
            pair = [bezier(points, (i + k) / steps) for k in (0, 1)]
            width = thick + (thin - thick) * i / steps
            self.draw.line(self.points(pair), fill=255, width=max(1, round(width * self.scale)))
            self.blob(*pair[1], width / 2, width / 2)

    def leaf(self, x, y, length, angle):
        """One lens-shaped leaf that starts at x, y."""
        along = np.array([math.cos(angle), math.sin(angle)]) * length
        across = np.array([-along[1], along[0]]) * 0.19
        start = np.array([x, y])
        self.shape(
            [
                start,
                start + along * 0.3 + across,
                start + along * 0.65 + across * 0.8,
                start + along,
                start + along * 0.65 - across * 0.8,
                start + along * 0.3 - across,
            ]
        )


def bezier(points, t):
    points = [np.array(p, float) for p in points]
    while len(points) > 1:
        points = [a + (b - a) * t for a, b in zip(points, points[1:])]
    return tuple(points[0])


def ridge(seed, waves):
    """A function from x to height: a few sines with random phases."""
    chance = np.random.default_rng(seed)
    parts = [(size, TAU / length, chance.uniform(0, TAU)) for size, length in waves]
    return lambda x: sum(s * math.sin(k * x + p) for s, k, p in parts)


def far_hills(pen):
    """Soft hills, as far as the eye goes."""
    roll = ridge(4, ((30, 760), (15, 410), (5, 170), (1.2, 46)))
    line = [(x, HORIZON - 56 - roll(x)) for x in range(-MARGIN, W + MARGIN + 3, 2)]
    pen.shape([(-MARGIN, HORIZON + 2), *line, (W + MARGIN, HORIZON + 2)])


def tree_line(seed, base, waves, crown, dip):
    """A far shore of mangroves: crowns packed along a height that rolls.

    Around the place given by dip = (x, width, share) the trees stand lower, so
    that the sun has a way through.
    """

    def draw_it(pen):
        chance = np.random.default_rng(seed)
        roll = ridge(seed, waves)

        def height(x):
            low = dip[2] * math.exp(-(((x - dip[0]) / dip[1]) ** 2))
            return max(3.0, (base + roll(x)) * (1 - low))

        line = [(x, HORIZON - height(x) * 0.8) for x in range(-MARGIN, W + MARGIN + 4, 3)]
        pen.shape([(-MARGIN, HORIZON + 2), *line, (W + MARGIN, HORIZON + 2)])
        x = -MARGIN - 10.0
        while x < W + MARGIN + 10:
            size = crown * chance.uniform(0.55, 1.25)
            top = height(x) * chance.uniform(0.80, 1.06)
            for _ in range(7):
                pen.blob(
                    x + chance.normal(0, size * 0.5),
                    HORIZON - top + size * 0.55 + chance.normal(0, size * 0.28),
                    size * chance.uniform(0.28, 0.55),
                    size * chance.uniform(0.20, 0.36),
                )
            if chance.random() < 0.22:  # a taller tree looks out over the rest
                tall = size * chance.uniform(0.35, 0.75)
                pen.limb([(x, HORIZON - top + 4), (x + 1, HORIZON - top - tall)], 2.2, 1.4)
                for step in range(9):  # pointed and full, as the sundari grows
                    share = step / 8
                    wide = size * 0.40 * (1 - 0.72 * share)
                    pen.blob(
                        x + chance.normal(0, wide * 0.35),
                        HORIZON - top - tall * (0.1 + 1.15 * share),
                        wide * chance.uniform(0.7, 1.1),
                        size * chance.uniform(0.12, 0.2),
                    )
            x += size * chance.uniform(0.45, 0.9)

    return draw_it


def near_bank(pen):
    """The bank in front: mud, mangroves on stilt roots, breathing roots."""
    chance = np.random.default_rng(21)

    def ground(x):
        left = 624 + 0.00034 * max(0, x + 40) ** 2 + 3 * math.sin(x / 37)
        right = 668 + 0.0011 * max(0, W + 30 - x) ** 2 + 2.5 * math.sin(x / 29 + 1)
        return min(left, right)

    line = [(x, ground(x)) for x in range(-MARGIN, W + MARGIN + 3, 2)]
    pen.shape([(-MARGIN, H + 2), *line, (W + MARGIN, H + 2)])

    def crown(x, y, rx, ry, leaves):
        for _ in range(leaves // 8):
            a, r = chance.uniform(0, TAU), math.sqrt(chance.random())
            pen.blob(
                x + rx * 0.74 * r * math.cos(a),
                y + ry * 0.66 * r * math.sin(a),
                rx * 0.17,
                ry * 0.2,
            )
        for _ in range(leaves):
            a, r = chance.uniform(0, TAU), chance.random() ** 0.4
            px, py = x + rx * 0.86 * r * math.cos(a), y + ry * 0.82 * r * math.sin(a)
            outward = math.atan2(py - y + ry * 0.25, px - x)
            pen.leaf(px, py, chance.uniform(9, 17), outward + chance.normal(0, 0.75))

    def mangrove(x, foot, fork, lean, crowns, stilts):
        """A trunk that stands on arched roots and carries several crowns."""
        knee = foot - stilts
        top = (x + lean, fork)
        trunk = [(x, knee + 6), (x - lean * 0.3, (knee + fork) / 2), top]
        pen.limb(trunk, stilts * 0.20, stilts * 0.12)
        for i in range(9):
            side = -1 if i % 2 else 1
            reach = side * stilts * chance.uniform(0.25, 1.35)
            start = knee - stilts * chance.uniform(-0.1, 0.55)
            pen.limb(
                [
                    (x, start),
                    (x + reach * 0.85, start + stilts * 0.18),
                    (x + reach, max(foot, ground(x + reach)) + 8),
                ],
                stilts * 0.085,
                stilts * 0.05,
            )
        for cx, cy, rx, ry, leaves in crowns:
            pen.limb(
                [bezier(trunk, 0.7), (x + lean, (fork + cy) / 2 + 18), (cx, cy)],
                stilts * 0.10,
                stilts * 0.035,
            )
            crown(cx, cy, rx, ry, leaves)

    mangrove(
        112,
        630,
        392,
        20,
        (
            (22, 300, 116, 62, 640),
            (142, 246, 106, 58, 600),
            (238, 322, 92, 44, 430),
            (92, 368, 96, 36, 330),
        ),
        88,
    )
    mangrove(
        306,
        668,
        528,
        -12,
        ((262, 488, 62, 32, 240), (330, 458, 66, 34, 280), (384, 506, 50, 25, 180)),
        54,
    )
    # Aerial roots that hang from the large crowns.
    for x in (176, 214, 262, 288):
        drop = chance.uniform(26, 62)
        pen.limb(
            [
                (x, 330),
                (x + chance.normal(0, 3), 340 + drop / 2),
                (x + chance.normal(0, 4), 345 + drop),
            ],
            1.5,
            0.7,
        )
    # Breathing roots: the spikes that stand in the mud.
    for _ in range(120):
        x = (
            chance.uniform(-MARGIN, 560)
            if chance.random() < 0.6
            else chance.uniform(1000, W + MARGIN)
        )
        tall = chance.uniform(7, 24)
        y = ground(x) + 5
        tip = x + chance.normal(0, 2)
        pen.shape([(x - 1.9, y), (tip - 0.5, y - tall), (tip + 0.5, y - tall), (x + 1.9, y)])
    # A young mangrove on the other side, to answer the large ones.
    mangrove(1196, 676, 604, 8, ((1168, 590, 42, 22, 150), (1222, 570, 46, 25, 170)), 40)


def boat(pen):
    """A country boat: a crescent hull, a round hood, a boatman with his pole."""
    deck = [bezier([(-62, -15), (-34, 3), (30, 3), (66, -19)], i / 30) for i in range(31)]
    keel = [bezier([(66, -19), (40, 17), (-36, 16), (-62, -15)], i / 30) for i in range(31)]
    pen.shape(deck + keel)
    hood = [bezier([(-24, 0), (-24, -23), (14, -23), (15, 0)], i / 24) for i in range(25)]
    pen.shape(hood)
    # The boatman stands aft and leans into the pole.
    pen.limb([(-43, -6), (-42, -16), (-40, -24)], 4.2, 5.2)
    pen.limb([(-39, -5), (-38, -14), (-40, -22)], 3.2, 4.2)
    pen.limb([(-40, -22), (-39, -30)], 7.0, 6.0)
    pen.blob(-38, -36.5, 3.4, 3.9)
    pen.limb([(-40, -31), (-34, -27), (-30.5, -30)], 2.6, 1.9)
    pen.limb([(-40, -30), (-35, -24), (-32.5, -23)], 2.6, 1.9)
    pen.limb([(-26, -55), (-46, 16)], 1.3, 1.3)


def patch(draw_it, half_width, up, down, scale=8):
    """A small silhouette, drawn large and kept at four times the size."""
    image = Image.new("L", (half_width * 2 * scale, (up + down) * scale))
    draw_it(Pen(ImageDraw.Draw(image), scale, half_width, up))
    return np.asarray(image.reduce(scale // 4), np.float32) / 255


def stamp(picture, mask, x, y, left, up, colour, scale=4):
    """Lay a patch (scale times too large) with its origin at x, y."""
    x0, y0 = math.floor(x - left), math.floor(y - up)
    fx, fy = (x - left - x0) * scale, (y - up - y0) * scale
    padded = np.pad(mask, ((0, scale), (0, scale)))
    moved = np.roll(padded, (round(fy), round(fx)), axis=(0, 1))
    rows, columns = moved.shape[0] // scale, moved.shape[1] // scale
    small = moved.reshape(rows, scale, columns, scale).mean(axis=(1, 3))
    a, b = max(0, -x0), min(columns, W - x0)
    c, d = max(0, -y0), min(rows, picture.shape[0] - y0)
    if a < b and c < d:
        mix(picture[y0 + c : y0 + d, x0 + a : x0 + b], colour, small[c:d, a:b, None])


# --- Birds -------------------------------------------------------------------


def bird(flap):
    """A bird seen from the side; flap goes from -1 (wings down) to 1 (up)."""

    def draw_it(pen):
        for side, reach in ((-1, 1.0), (1, 0.92)):
            wrist = (side * 5.4 * reach, -2.2 - 3.2 * flap)
            tip = (side * 12.5 * reach, -1.0 - 6.0 * flap)
            top = [bezier([(0, -0.9), wrist, tip], i / 12) for i in range(13)]
            under = [bezier([tip, (wrist[0], wrist[1] + 2.6), (0, 1.5)], i / 12) for i in range(13)]
            pen.shape(top + under)
        pen.blob(0.6, 0.3, 3.3, 1.35)
        pen.shape([(3.0, -0.5), (5.4, 0.2), (3.0, 0.8)])

    return draw_it


# When a flock enters, how long it takes, its path, and who flies in it:
# (behind, below, size) for each bird. Every flock leaves before the clip ends.
FLOCKS = (
    (
        1.0,
        19.0,
        (-60, 236),
        (1360, 128),
        (
            (0, 0, 1.2),
            (37, -14, 1.1),
            (41, 16, 1.15),
            (77, -29, 1.05),
            (86, 33, 1.1),
            (120, 47, 1.0),
        ),
    ),
    (12.0, 16.5, (1340, 262), (-70, 300), ((0, 0, 0.78), (30, 9, 0.72), (54, -8, 0.70))),
)


def draw_birds(picture, t, colour):
    for number, (start, takes, origin, goal, members) in enumerate(FLOCKS):
        share = (t - start) / takes
        if not -0.05 < share < 1.1:
            continue
        way = np.array(goal, float) - origin
        forward = way / np.hypot(*way)
        for i, (behind, below, size) in enumerate(members):
            x, y = np.array(origin) + way * share - forward * behind
            y += below + 5 * math.sin(TAU * (share * 2.2) + i * 0.5)
            beat = TAU * (t / 0.92 + i * 0.29 + number * 0.4)
            glide = smooth(math.sin(TAU * t / 6.0 + i * 0.45 + number), -0.5, 0.3)
            flap = 0.28 + float(glide) * (0.75 * math.sin(beat) - 0.1)
            # Each bird is drawn larger or smaller by drawing it at its own scale.
            image = Image.new("L", (160, 128))
            pen = Pen(ImageDraw.Draw(image), 4 * size, 20 / size, 16 / size)
            draw_it = bird(flap)
            draw_it(pen)
            if way[0] < 0:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            stamp(picture, np.asarray(image, np.float32) / 255, x, y, 20, 16, colour)


# --- The scene ---------------------------------------------------------------


class Scene:
    """Everything about one mood that stands still, and how to draw a moment."""

    def __init__(self, mood):
        self.mood = mood
        dip = (mood.disc_x, 150, 0.55)
        self.layers = (
            (Layer(far_hills, HORIZON - 140, HORIZON), 1.2),
            (
                Layer(
                    tree_line(7, 33, ((9, 520), (6, 210), (3, 83)), 15, dip), HORIZON - 100, HORIZON
                ),
                2.4,
            ),
            (
                Layer(
                    tree_line(11, 25, ((16, 900), (6, 330), (3, 120)), 19, (dip[0], 230, 0.86)),
                    HORIZON - 100,
                    HORIZON,
                ),
                4.0,
            ),
        )
        self.bank = Layer(near_bank, 160, H, mirrored=mood.flip)
        self.boat = patch(boat, 76, 64, 24)
        self.sky = self.draw_sky()
        self.colours = [
            self.shore_colour(i, *span)
            for i, span in enumerate([(layer.top, layer.bottom) for layer, _ in self.layers])
        ]
        top, foot = rgb(mood.near[0]), rgb(mood.near[1])
        down = smooth(YY[160:, :, None], 300, 700)
        self.bank_colour = top + (foot - top) * down
        self.dashes = self.choose_dashes()
        self.waves = self.choose_waves()

    # What stands still

    def draw_sky(self):
        mood = self.mood
        places = [stop for stop, _ in mood.sky]
        colours = np.array([rgb(colour) for _, colour in mood.sky])
        down = np.arange(HORIZON) / HORIZON
        # Blur the stops, so that the gradient has no kinks.
        row = np.stack([np.interp(down, places, colours[:, c]) for c in range(3)], axis=1)
        reach = 41
        padded = np.pad(row, ((reach, reach), (0, 0)), mode="edge")
        bell = np.hanning(2 * reach + 1)
        row = np.stack(
            [np.convolve(padded[:, c], bell / bell.sum(), "valid") for c in range(3)], axis=1
        )
        sky = np.repeat(row[:, None, :].astype(np.float32), W, axis=1)

        y, x = YY[:HORIZON], XX[:HORIZON]
        wide, high = mood.glow_size
        centre = mood.disc_y[0] + 0.4 * (mood.disc_y[1] - mood.disc_y[0])
        far = np.hypot((x - mood.disc_x) / wide, (y - centre) / high)
        mix(sky, rgb(mood.glow), (mood.glow_strength * np.exp(-1.5 * far**1.25))[..., None])
        if mood.stars:
            self.draw_stars(sky)
        self.draw_clouds(sky)
        return sky

    def draw_clouds(self, sky):
        """Long thin bars of cloud, lit from where the sun is."""
        mood = self.mood
        chance = np.random.default_rng(5)
        y, x = YY[:HORIZON], XX[:HORIZON]
        cover = np.zeros((HORIZON, W), np.float32)
        for cx, cy, rx, ry, weight in (
            (1010, 262, 300, 8, 0.9),
            (800, 284, 210, 5, 0.8),
            (1130, 300, 230, 6, 0.7),
            (600, 318, 250, 5, 0.75),
            (300, 250, 280, 8, 0.55),
            (420, 284, 170, 4, 0.6),
            (960, 330, 190, 4, 0.7),
            (690, 226, 200, 6, 0.4),
            (1180, 196, 220, 8, 0.35),
        ):
            phase = chance.uniform(0, TAU, 3)
            bend = 3.5 * np.sin(x / 97 + phase[0]) + 1.8 * np.sin(x / 41 + phase[1])
            thick = ry * (1 + 0.35 * np.sin(x / 63 + phase[2]))
            along = np.clip(1 - np.abs((x - cx) / rx) ** 2, 0, 1)
            below = y - cy - bend
            # Flat and crisp underneath, fading upwards.
            profile = np.exp(
                -np.where(below > 0, (below / (thick * 0.55)) ** 2, (below / (thick * 1.9)) ** 2)
            )
            cover = np.maximum(cover, weight * profile * along**1.5)
        near = np.exp(-(((x - mood.disc_x) / 520) ** 2))
        mix(sky, rgb(mood.cloud), (cover * mood.cloud_strength * (0.45 + 0.75 * near))[..., None])

    def draw_stars(self, sky):
        chance = np.random.default_rng(12)
        for _ in range(self.mood.stars):
            x, y = chance.uniform(0, W), HORIZON * chance.random() ** 1.35
            size = 0.55 + 0.9 * chance.random() ** 5
            light = (0.25 + 0.75 * chance.random() ** 2) * float(1 - smooth(y, 230, 420))
            if math.hypot(x - self.mood.disc_x, y - self.mood.disc_y[0]) < 120:
                light *= 0.25
            tint = (
                rgb("#ffffff")
                if chance.random() < 0.7
                else rgb("#cfdcff" if chance.random() < 0.6 else "#ffe6c4")
            )
            self.spot(sky, x, y, size, tint, light)
            if size > 1.15:
                self.spot(sky, x, y, size * 3.6, tint, light * 0.16)

    def shore_colour(self, i, top, bottom):
        """A layer's colour: paler towards the light and down in the haze."""
        mood = self.mood
        y, x = YY[top:bottom], XX[top:bottom]
        field = np.empty((bottom - top, W, 3), np.float32)
        field[:] = rgb(mood.ranges[i])
        near = np.exp(-(((x - mood.disc_x) / 300) ** 2))
        low = smooth(y, HORIZON - 90, HORIZON)
        mix(field, rgb(mood.glow), ((0.34, 0.22, 0.10)[i] * mood.glow_strength * near)[..., None])
        mix(
            field,
            rgb(mood.mist),
            ((0.85, 0.7, 0.5)[i] * mood.mist_strength * low * (0.55 + 0.45 * near))[..., None],
        )
        return field

    def choose_dashes(self):
        """The glimmer: short strokes of light that come and go on the water.

        Each has a place, a size, a light, a whole number of pulses in the clip
        and a phase. Most lie under the sun, some anywhere.
        """
        chance = np.random.default_rng(33)
        dashes = []
        for _ in range(235):
            d = chance.random() ** 1.25  # 0 at the horizon, 1 at the bottom
            y = HORIZON + 3 + d * 236
            spread = 17 + 62 * d + 14 * math.sin(d * 19)
            x = self.mood.disc_x + chance.normal(0, 0.62) * spread
            width = (7 + 24 * d) * chance.uniform(0.5, 1.35)
            light = (1 - 0.62 * d) * chance.uniform(0.5, 1.0)
            dashes.append(
                (x, y, width, 0.75 + 1.6 * d, light, chance.integers(5, 13), chance.uniform(0, TAU))
            )
        for _ in range(70):
            d = chance.random() ** 0.9
            x, y = chance.uniform(0, W), HORIZON + 5 + d * 240
            width = (16 + 60 * d) * chance.uniform(0.5, 1.4)
            light = 0.20 * chance.uniform(0.4, 1.0) * (1 - 0.45 * d)
            dashes.append(
                (x, y, width, 0.6 + 1.0 * d, light, chance.integers(3, 8), chance.uniform(0, TAU))
            )
        return dashes

    def choose_waves(self):
        """Ripples, smaller and closer towards the horizon."""
        chance = np.random.default_rng(8)
        y, x = YY[HORIZON:], XX[HORIZON:]
        depth = (y - HORIZON + 1) / (H - HORIZON)
        away = 1 / (depth + 0.055)
        across = (x - W / 2) * away
        waves = []
        for size, kx, kz, cycles in (
            (1.0, 0.0025, 3.1, 5),
            (0.8, -0.004, 5.2, 7),
            (0.6, 0.008, 8.3, 9),
            (0.45, -0.012, 12.7, 11),
        ):
            waves.append(
                (size, kx * across + kz * 2.2 * away + chance.uniform(0, TAU), int(cycles))
            )
        return depth, waves

    # What moves

    @staticmethod
    def spot(picture, x, y, size, colour, light):
        """A soft round point of light."""
        r = math.ceil(size * 3)
        x0, x1 = max(0, int(x) - r), min(W, int(x) + r + 1)
        y0, y1 = max(0, int(y) - r), min(picture.shape[0], int(y) + r + 1)
        if x0 < x1 and y0 < y1:
            shape = np.exp(-((XX[y0:y1, x0:x1] - x) ** 2 + (YY[y0:y1, x0:x1] - y) ** 2) / size**2)
            mix(picture[y0:y1, x0:x1], colour, (light * shape)[..., None])

    def draw_disc(self, picture, y):
        """The sun or the moon, with its own halo."""
        mood = self.mood
        r = mood.disc_radius
        top, left = max(0, int(y - 3.2 * r)), int(mood.disc_x - 3.2 * r)
        part = picture[top : min(HORIZON, int(y + 3.2 * r)), left : int(mood.disc_x + 3.2 * r)]
        yy = YY[top : top + part.shape[0], left : left + part.shape[1]]
        xx = XX[top : top + part.shape[0], left : left + part.shape[1]]
        far = np.hypot(xx - mood.disc_x, yy - y)
        fade = smooth(1 - far / (3.2 * r))
        halo = 0.40 * np.exp(-np.maximum(0, far - r) / (0.55 * r)) * fade
        mix(part, rgb(mood.disc[0]) * 0.45 + rgb(mood.glow) * 0.55, halo[..., None])
        edge = np.clip(r - far + 0.5, 0, 1)
        down = smooth(yy, y - r, y + r)[..., None]
        face = rgb(mood.disc[0]) + (rgb(mood.disc[1]) - rgb(mood.disc[0])) * down
        if mood.stars:  # the seas of the moon
            for sx, sy, size, weight in (
                (-0.34, -0.22, 0.34, 0.55),
                (0.10, -0.40, 0.24, 0.45),
                (0.30, -0.02, 0.30, 0.5),
                (-0.12, 0.20, 0.26, 0.4),
                (-0.50, 0.18, 0.22, 0.4),
                (0.18, 0.52, 0.14, 0.3),
            ):
                sea = np.exp(
                    -(((xx - mood.disc_x - sx * r) ** 2 + (yy - y - sy * r) ** 2) / (size * r) ** 2)
                )
                face = face + (rgb("#b9c2cf") - face) * (0.8 * weight * sea)[..., None]
        mix(part, face, edge[..., None])

    def disc_height(self, t):
        """The row of the sun's centre: slowly down, then back up."""
        high, low = self.mood.disc_y
        sinking = LENGTH - RETURN
        turn = t / sinking if t < sinking else 1 + (t - sinking) / RETURN
        return high + (low - high) * (0.5 - 0.5 * math.cos(math.pi * turn))

    def frame(self, t, birds=True):
        """The picture at t seconds: floats from 0 to 1, (H, W, 3)."""
        mood = self.mood
        turn = TAU * t / LENGTH
        sway = math.sin(turn)
        picture = np.empty((H, W, 3), np.float32)
        upper = picture[:HORIZON]
        upper[:] = self.sky
        shore = [layer.at(sway * reach)[..., None] for layer, reach in self.layers]
        for with_disc in (False, True):
            # The water is drawn from a sky without the sun: moving water shows
            # its light as a path, never its shape.
            if with_disc:
                upper[:] = self.sky
                self.draw_disc(upper, self.disc_height(t))
            for (layer, _), colour, cover in zip(self.layers, self.colours, shore):
                mix(upper[layer.top : layer.bottom], colour, cover)
            if not with_disc:
                self.draw_water(picture, turn)
        self.draw_glitter(picture, turn)
        self.draw_mist(picture, turn)
        self.draw_boat(picture, turn)
        if birds:
            draw_birds(upper, t, rgb(mood.ranges[2]) * 0.75)
        mix(picture[160:], self.bank_colour, self.bank.at(sway * 6.0)[..., None])
        if mood.fireflies:
            self.draw_fireflies(picture)
        # A little darker towards the corners.
        corner = np.hypot((XX - W / 2) / W, (YY - H / 2) / H)
        picture *= (1 - 0.30 * smooth(corner, 0.36, 0.78))[..., None]
        return picture

    def draw_water(self, picture, turn):
        """The upper picture, mirrored, bent by the ripples and darkened."""
        mood = self.mood
        depth, waves = self.waves
        lift = sum(size * np.sin(phase + cycles * turn) for size, phase, cycles in waves)
        # Rows of the picture above: the mirror image, stretched a little.
        source = HORIZON - 2 - depth * (H - HORIZON) * 1.08 + lift * (0.5 + 4.2 * depth)
        source = np.clip(source, 0, HORIZON - 2)
        whole = source.astype(np.int32)
        part = (source - whole)[..., None]
        column = np.broadcast_to(np.arange(W), whole.shape)
        water = picture[whole, column] * (1 - part) + picture[whole + 1, column] * part
        shallow, deep = mood.water_depth
        tint = shallow + (deep - shallow) * smooth(depth, -0.05, 1.1) - 0.018 * lift
        mix(water, rgb(mood.water_tint), np.clip(tint, 0, 1)[..., None])
        # The broad, soft path of light under the sun.
        x = XX[HORIZON:]
        path = (
            np.exp(-(((x - mood.disc_x) / (38 + 95 * depth)) ** 2))
            * (1 - 0.62 * depth)
            * (1 + 0.10 * lift)
        )
        mix(water, rgb(mood.glow), (0.46 * mood.glitter_strength * path)[..., None])
        picture[HORIZON:] = water

    def draw_glitter(self, picture, turn):
        pale, warm = rgb(self.mood.glitter), rgb(self.mood.glow)
        for x, y, width, height, light, cycles, phase in self.dashes:
            pulse = 0.5 + 0.5 * math.sin(cycles * turn + phase)
            strength = light * self.mood.glitter_strength * pulse**1.5
            if strength < 0.01:
                continue
            wide = width * (0.55 + 0.45 * pulse)
            x += 3.0 * math.sin(turn * 2 + phase * 1.7)
            x0, x1 = max(0, int(x - wide)), min(W, int(x + wide) + 2)
            y0, y1 = max(HORIZON, int(y - height * 2.5)), min(H, int(y + height * 2.5) + 2)
            if x0 >= x1 or y0 >= y1:
                continue
            along = np.clip(1 - ((XX[y0:y1, x0:x1] - x) / wide) ** 2, 0, 1)
            # A lens: thinner towards its ends.
            lens = np.exp(
                -(((YY[y0:y1, x0:x1] - y) / (height * (0.35 + 0.65 * along))) ** 2)
            ) * smooth(along, 0, 0.5)
            colour = pale + (warm - pale) * min(1, 1.2 * (y - HORIZON) / (H - HORIZON))
            mix(picture[y0:y1, x0:x1], colour, (strength * lens)[..., None])

    def draw_mist(self, picture, turn):
        """A thin haze where the far shore meets the water."""
        mood = self.mood
        near = 0.6 + 0.4 * np.exp(-(((XX[0] - mood.disc_x) / 420) ** 2))
        top, bottom = HORIZON - 70, HORIZON + 90
        y, x = YY[top:bottom], XX[top:bottom]
        drift = 5 * np.sin(x / 190 + turn) + 3 * np.sin(x / 83 - turn)
        veil = np.exp(-(((y - HORIZON - 2) / (15 + 0.45 * drift)) ** 2))
        if mood.mist_strength > 0.4:  # dawn: banks of mist as well
            veil = 0.75 * veil + 0.5 * np.exp(-(((y - HORIZON + 26 - 1.6 * drift) / 12) ** 2))
            veil = veil + 0.42 * np.exp(-(((y - HORIZON - 40 - 1.2 * drift) / 16) ** 2))
        mix(
            picture[top:bottom],
            rgb(mood.mist),
            (0.8 * mood.mist_strength * np.clip(veil, 0, 1) * near)[..., None],
        )

    def draw_boat(self, picture, turn):
        mood = self.mood
        x = (W - 560 if mood.flip else 664) + 9 * math.sin(turn)
        y = 508 + 1.3 * math.sin(turn * 6)
        mask = self.boat[:, ::-1] if mood.flip else self.boat
        colour = rgb(mood.ranges[2]) * 0.55 + rgb(mood.near[0]) * 0.45
        # Its reflection first: upside down, flattened, rippled and half clear.
        up, scale = 64, 4
        mirror = mask[: (up + 9) * scale][::-1]
        rows = np.arange(mirror.shape[0])
        bend = np.sin(rows / 9 + turn * 9) * (2 + rows / 26) + np.sin(rows / 21 - turn * 7) * 2
        mirror = np.stack([np.roll(line, round(move)) for line, move in zip(mirror, bend)])
        mirror = mirror * (0.62 * np.exp(-rows / 150))[:, None]
        stamp(picture, mirror.astype(np.float32), x, y + 9, 76, 2, colour)
        stamp(picture, mask, x, y, 76, up, colour)

    def draw_fireflies(self, picture):
        chance = np.random.default_rng(42)
        for _ in range(self.mood.fireflies):
            if chance.random() < 0.7:
                x, y = chance.normal(190, 105), chance.normal(455, 85)
            else:
                x, y = chance.normal(1190, 60), chance.normal(590, 38)
            light = chance.uniform(0.35, 1.0)
            self.spot(picture, x, y, 7.5, rgb("#d8e86a"), 0.20 * light)
            self.spot(picture, x, y, 1.5, rgb("#f6ffb0"), 0.95 * light)


# --- The clock ---------------------------------------------------------------


class Clock:
    """m:ss.t in the top right corner; every digit keeps its own column."""

    SIZE, CELL, BIG = 24, 14.5, 4

    def __init__(self):
        font = ImageFont.load_default(self.SIZE * self.BIG)
        self.glyphs = {}
        for sign in "0123456789:.":
            cell = self.CELL if sign.isdigit() else self.CELL * 0.52
            width = round(cell * self.BIG)
            image = Image.new("L", (width, 40 * self.BIG))
            ImageDraw.Draw(image).text(
                (width / 2, 29 * self.BIG), sign, font=font, fill=255, anchor="ms"
            )
            self.glyphs[sign] = image

    def draw(self, picture, tenths):
        text = f"{tenths // 600}:{tenths // 10 % 60:02}.{tenths % 10}"
        glyphs = [self.glyphs[sign] for sign in text]
        width = 96
        strip = Image.new("L", (width * self.BIG, 40 * self.BIG))
        x = strip.width - 4 * self.BIG - sum(glyph.width for glyph in glyphs)
        for glyph in glyphs:
            strip.paste(glyph, (x, 0))
            x += glyph.width
        shade = strip.filter(ImageFilter.GaussianBlur(3 * self.BIG)).reduce(self.BIG)
        ink = strip.reduce(self.BIG)
        part = picture[20:60, W - 28 - width : W - 28]
        mix(part, rgb("#0b1024"), 0.5 * np.asarray(shade, np.float32)[..., None] / 255)
        mix(part, rgb("#fff3e2"), 0.86 * np.asarray(ink, np.float32)[..., None] / 255)


# --- Files -------------------------------------------------------------------

# One fixed grain for every frame: it hides the steps of eight bits, and as it
# does not move it costs next to nothing after a key frame.
GRAIN = np.random.default_rng(1).triangular(-0.9, 0, 0.9, (H, W, 1)).astype(np.float32)


def to_bytes(picture, grain=GRAIN):
    return np.clip(picture * 255 + grain + 0.5, 0, 255).astype(np.uint8)


def make_posters():
    for name, mood, t, birds in (
        ("live", DUSK, 9.6, True),
        ("past", NIGHT, 4.0, False),
        ("upcoming", DAWN, 8.2, True),
    ):
        image = Image.fromarray(to_bytes(Scene(mood).frame(t, birds)))
        path = HERE / f"poster-{name}.webp"
        for quality in range(92, 40, -2):
            image.save(path, quality=quality, method=6)
            if path.stat().st_size <= POSTER_LIMIT:
                break
        print(f"{path.name}: {path.stat().st_size:,} bytes (quality {quality})")


def make_sound(path):
    """Water and wind: noise shaped in the frequency domain, so that it loops."""
    rate = 24_000
    count = int(rate * LENGTH)
    chance = np.random.default_rng(3)
    t = np.arange(count) / rate
    hertz = np.fft.rfftfreq(count, 1 / rate)

    def noise(low, high, tilt):
        band = np.exp(-((low / np.maximum(hertz, 1)) ** 4)) * np.exp(-((hertz / high) ** 2))
        phases = np.exp(1j * chance.uniform(0, TAU, len(hertz)))
        sound = np.fft.irfft(band * np.maximum(hertz, 20) ** -tilt * phases, count)
        return sound / sound.std()

    def swell(*parts):
        return sum(
            size * np.sin(TAU * cycles * t / LENGTH + phase) for size, cycles, phase in parts
        )

    wind = noise(70, 420, 0.9) * (0.75 + swell((0.22, 2, 0.4), (0.14, 5, 2.0)))
    water = (
        noise(240, 1300, 0.6)
        * np.clip(0.5 + swell((0.3, 7, 0.0), (0.22, 11, 1.3), (0.15, 4, 2.2)), 0.05, None) ** 1.5
    )
    # A cricket far off: a pure note in short trills, now and then.
    trill = np.clip(np.sin(TAU * 540 * t / LENGTH), 0, 1) ** 2 * smooth(
        np.sin(TAU * 12 * t / LENGTH), 0.1, 0.6
    )
    cricket = np.sin(TAU * 2700 * t) * trill
    sound = 0.042 * wind + 0.030 * water + 0.0045 * cricket
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())


def ffmpeg(*arguments, **options):
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.Popen(command, **options)


def finish(process):
    if process.wait():
        raise SystemExit(f"ffmpeg failed: {' '.join(process.args)}")


def make_clip():
    scene, clock = Scene(DUSK), Clock()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        frames, sound = folder / "frames.mkv", folder / "sound.wav"

        # First without loss, since the encoder below wants to look twice.
        keep = ffmpeg(
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{W}x{H}",
            "-r",
            FPS,
            "-i",
            "-",
            "-vf",
            "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int",
            "-pix_fmt",
            "yuv420p",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-qp",
            0,
            frames,
            stdin=subprocess.PIPE,
        )
        total = round(FPS * LENGTH)
        for number in range(total):
            picture = scene.frame(number / FPS)
            clock.draw(picture, number * 10 // FPS)
            keep.stdin.write(to_bytes(picture).tobytes())
            if number % FPS == 0:
                print(f"\rframe {number} of {total}", end="", flush=True)
        keep.stdin.close()
        finish(keep)
        print(f"\r{total} frames drawn      ")

        make_sound(sound)
        video = (
            "-c:v",
            "libx264",
            "-profile:v",
            "high",
            "-pix_fmt",
            "yuv420p",
            "-preset",
            "slower",
            "-b:v",
            f"{VIDEO_KBPS}k",
            "-g",
            round(LENGTH / 4 * FPS),
            "-passlogfile",
            folder / "pass",
            "-x264-params",
            "aq-mode=1:aq-strength=0.5:deblock=0,0:qcomp=0.9:psy-rd=0.4,0:bframes=5:ref=5",
            "-color_primaries",
            "bt709",
            "-color_trc",
            "bt709",
            "-colorspace",
            "bt709",
            "-color_range",
            "tv",
        )
        finish(ffmpeg("-i", frames, *video, "-pass", 1, "-an", "-f", "null", "-"))
        path = HERE / "clip.mp4"
        finish(
            ffmpeg(
                "-i",
                frames,
                "-i",
                sound,
                *video,
                "-pass",
                2,
                "-c:a",
                "aac",
                "-b:a",
                f"{AUDIO_KBPS}k",
                "-ac",
                1,
                "-t",
                LENGTH,
                "-map_metadata",
                -1,
                "-metadata",
                "title=Sundarbans at dusk",
                "-movflags",
                "+faststart",
                path,
            )
        )
        print(f"{path.name}: {path.stat().st_size:,} bytes")


def main(arguments):
    match arguments:
        case []:
            make_posters()
            make_clip()
        case ["posters"]:
            make_posters()
        case ["clip"]:
            make_clip()
        case ["still", moment]:
            picture = Scene(DUSK).frame(float(moment))
            Clock().draw(picture, int(float(moment) * 10))
            Image.fromarray(to_bytes(picture)).save("still.png")
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
