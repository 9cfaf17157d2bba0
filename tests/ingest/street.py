# SPDX-License-Identifier: AGPL-3.0-or-later
"""A street as a fixed camera's small luma, with sensor noise: what the tests of proof of sight look at."""

import cv2
import numpy as np

WIDTH, HEIGHT = 320, 180
KEY_S = 2.0


def street(seed=5):
    """Houses with windows, a road with grain and dashes: (180, 320) uint8, without noise."""
    rng = np.random.default_rng(seed)
    luma = np.repeat(np.linspace(200, 150, HEIGHT)[:, None], WIDTH, axis=1).astype(np.uint8)
    for left in range(0, WIDTH, 36):
        top = int(rng.integers(10, 60))
        luma[top:100, left : left + 32] = rng.integers(70, 170)
        for row in range(top + 6, 92, 12):
            for column in range(left + 4, left + 28, 9):
                luma[row : row + 6, column : column + 5] = rng.integers(30, 220)
    grain = cv2.GaussianBlur(rng.normal(0, 9, (HEIGHT - 100, WIDTH)), (0, 0), 0.8) * 1.5
    luma[100:] = (105 + grain).clip(16, 235)
    for left in range(0, WIDTH, 40):
        row = 120 + left // 8
        luma[row : row + 4, left : left + 22] = 215
    return luma


def hills(seed=77):
    """Another view altogether."""
    rng = np.random.default_rng(seed)
    land = cv2.GaussianBlur(rng.normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 6)
    grass = cv2.GaussianBlur(rng.normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 1)
    return (120 + 400 * land + 60 * grass).clip(16, 235).astype(np.uint8)


class Camera:
    """Shows a street, key frame by key frame, to what judges it; each with noise of its own."""

    def __init__(self, health, luma=None, noise=0.6, seed=1):
        self.health, self.luma, self.noise = health, street() if luma is None else luma, noise
        self.rng = np.random.default_rng(seed)
        self.grain = self.rng.normal(0, 1, (HEIGHT + 128, WIDTH + 128)).astype(np.float32)
        self.at_mono_s, self.seen = 0.0, None

    def grab(self, change=None):
        luma = self.luma if change is None else change(self.luma)
        down, right = self.rng.integers(0, 128, 2)
        noise = self.noise * self.grain[down : down + HEIGHT, right : right + WIDTH]
        return (luma + noise).clip(0, 255).round().astype(np.uint8)

    def show(self, seconds, change=None, key_s=KEY_S):
        """Show pictures for some seconds; return {fault: when it was first told}, seconds from now."""
        began, told = self.at_mono_s, {}
        while self.at_mono_s < began + seconds:
            self.at_mono_s += key_s
            self.seen = self.health.see(self.grab(change), self.at_mono_s)
            told.setdefault(self.seen.fault, self.at_mono_s - began)
        return told

    def pictures_until_good(self, most=10):
        """Show good pictures until no fault is told; return how many it took."""
        for count in range(1, most + 1):
            self.show(KEY_S)
            if self.seen.fault is None:
                return count
        return None


def shifted(across, down):
    def change(luma):
        matrix = np.array([[1, 0, across], [0, 1, down]], np.float32)
        return cv2.warpAffine(luma, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)

    return change


def blurred(sigma):
    return lambda luma: cv2.GaussianBlur(luma, (0, 0), sigma)


def covered(share, level=42):
    def change(luma):
        out = luma.copy()
        board = out[:, : round(share * WIDTH)]
        board[:] = level + np.random.default_rng(3).integers(-3, 4, board.shape)
        return out

    return change


def flat(level):
    return lambda luma: np.full_like(luma, level)


def slope(low, high):
    """Nothing but light that falls off to one side, as through paper before the lens."""
    return np.repeat(np.linspace(low, high, WIDTH)[None, :], HEIGHT, axis=0)


def lit(gain, offset=0.0):
    """The same under another light: around black (16)."""
    return lambda luma: (16 + (luma.astype(float) - 16) * gain + offset).clip(0, 255)


def lamps(luma):
    """By night: two pools of light, the rest near black."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    light = sum(np.exp(-((columns - x) ** 2 + (rows - 110) ** 2) / 2 / 50**2) for x in (80, 240))
    return 16 + (luma.astype(float) - 16) * (0.08 + 0.8 * light.clip(0, 1))
