"""Pictures made by code: faces of a sort, lit from the side before gradients, with mild texture."""

import numpy as np

from storage.schema import LIVE, SPOOF, Sample

SIZE = 224
_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE


def _texture() -> np.ndarray:
    """(2 SIZE, 2 SIZE) float32 in about [-1, 1]: noise, smoothed over a few pixels."""
    noise = np.random.default_rng(0).normal(size=(2 * SIZE, 2 * SIZE)).astype(np.float32)
    for _ in range(2):
        for axis in (0, 1):
            noise = (np.roll(noise, 1, axis) + 2 * noise + np.roll(noise, -1, axis)) / 4
    return noise / (3 * noise.std())


_TEXTURE = _texture()


def make(n):
    """images (n, SIZE, SIZE, 3) uint8, depths (live ones, SIZE, SIZE) uint8, labels (n,): every third one is live."""
    images = np.empty((n, SIZE, SIZE, 3), np.uint8)
    labels = np.where(np.arange(n) % 3 == 0, LIVE, SPOOF).astype(np.int64)
    depths = np.empty(((n + 2) // 3, SIZE, SIZE), np.uint8)
    for i in range(n):
        rng = np.random.default_rng([1, i])
        cx, cy = rng.uniform(0.42, 0.58, 2)
        shell = 1 - ((_X - cx) / rng.uniform(0.28, 0.36)) ** 2 - ((_Y - cy) / rng.uniform(0.36, 0.46)) ** 2
        nose = np.exp(-((_X - cx) ** 2 + (_Y - cy - 0.03) ** 2) / 0.004)
        face = np.sqrt(np.clip(shell, 0, None)) + 0.2 * nose * (shell > 0)
        eyes = sum(
            np.exp(-(((_X - cx - side) / 0.05) ** 2 + ((_Y - cy + 0.08) / 0.025) ** 2)) for side in (-0.12, 0.12)
        )
        mouth = np.exp(-(((_X - cx) / 0.09) ** 2 + ((_Y - cy - 0.2) / 0.02) ** 2))
        light = 0.55 + 0.45 * face + rng.uniform(-0.5, 0.5) * (_X - cx)
        y, x = rng.integers(0, SIZE, 2)
        grain = rng.uniform(4, 10) * _TEXTURE[y : y + SIZE, x : x + SIZE]
        skin, wall = rng.uniform((150, 100, 80), (235, 190, 170)), rng.uniform(40, 200, 3)
        tilt = rng.uniform(-60, 60, (3, 2))
        soft = np.clip(shell * 12 + 0.5, 0, 1)  # an edge a few pixels wide
        for c in range(3):
            back = wall[c] + tilt[c, 0] * _X + tilt[c, 1] * _Y
            front = skin[c] * light * (1 - 0.7 * eyes) * (1 - (0.5 if c else 0.2) * mouth)
            images[i, ..., c] = np.clip(back + soft * (front - back) + grain, 0, 255)
        if labels[i] == LIVE:
            depths[i // 3] = np.where(shell > 0, 1 + 254 * face / face.max(), 0)
    return images, depths, labels


def samples(images, depths, labels, start, stop):
    """Rows `start` to `stop` as a build hands them to a writer."""
    for i in range(start, stop):
        live = labels[i] == LIVE
        row = {
            "dataset": "bench",
            "path": f"Data/train/{i // 100:04d}/{'live' if live else 'spoof'}/{i:06d}.png",
            "frame": 0,
            "view": 0,
            "split": "train",
            "subject": f"bench/{i // 20}",
            "session": "",
            "label": int(labels[i]),
            "attack": "" if live else "print",
            "attack_detail": "" if live else "A4 paper",
            "box": [60.0, 50.0, 300.0, 320.0],
            "box_source": "given",
            "score": 1.0,
            "points": [float(v) for v in range(10)],
            "crop": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            "confidence": 0.9 if live else float("nan"),
            "source_size": 100_000 + i,
            "source_mtime_ns": 1_700_000_000_000_000_000 + i,
            "extra": "{}",
        }
        yield Sample(images[i], depths[i // 3] if live else None, row)
