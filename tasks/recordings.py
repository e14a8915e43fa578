"""HDF5 recordings of a colour camera and, in some datasets, a depth camera beside it.

    3DMAD   Color_Data (N, 3, H, W) uint8, Depth_Data (N, 1, H, W) in mm, Eye_Pos (N, 4) right and left eye, x before y
    WMCA    a group for each frame, `array` (3, H, W) uint8 in it; preprocessed colour, no depth

A file is somebody else's: links, virtual datasets and external storage are refused, since they lead to other files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import h5py
import numpy as np
import numpy.typing as npt

from tasks.errors import MediumError
from tasks.frames import ReadConfig, wanted_frames
from tasks.tracks import Box, Points, face_from_eyes
from tasks.video import Frame

Millimetres = npt.NDArray[np.number]  # (H, W) distance from the camera, 0 where it measured nothing


@dataclass(frozen=True)
class RecordedFrame:
    """One frame: `image` (H, W, 3) uint8 RGB, `distance` registered with it, `given` the face as the dataset has it."""

    number: int
    image: Frame
    distance: Millimetres | None
    given: tuple[Box, Points] | None


def read_recording(path: str | os.PathLike[str], config: ReadConfig) -> Iterator[RecordedFrame]:
    """The frames of a recording that `config` asks for.

    Raises MediumError `not-an-image` for a file that is no HDF5 or none of these, `truncated` for a damaged one.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise MediumError("not-an-image", f"{path}: not an HDF5 file, or cut off ({error})") from error
    with file:
        try:
            yield from _frames_of(path, file, config)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            if isinstance(error, MediumError):
                raise
            raise MediumError("truncated", f"{path}: damaged ({error})") from error


def _frames_of(path: object, file: h5py.File, config: ReadConfig) -> Iterator[RecordedFrame]:
    if "Color_Data" in file:
        colour = _array(path, file, "Color_Data", 4)
        depth = _array(path, file, "Depth_Data", 4) if "Depth_Data" in file else None
        eyes = _array(path, file, "Eye_Pos", 2) if "Eye_Pos" in file else None
        if depth is not None and (len(depth), *depth.shape[2:]) != (len(colour), *colour.shape[2:]):
            raise MediumError(
                "not-an-image", f"{path}: Depth_Data {depth.shape} does not fit Color_Data {colour.shape}"
            )
        for number in _wanted(path, len(colour), config):
            image = _image(path, colour, number, config)
            distance = None if depth is None else depth[number, 0]
            given = None if eyes is None else face_from_eyes(*eyes[number].astype(float))
            yield RecordedFrame(number, image, distance, given)
        return
    frames = sorted((name for name in file if re.search(r"\d+$", name)), key=_number)  # frame_10 after frame_9
    if not frames:
        raise MediumError(
            "not-an-image", f"{path}: neither Color_Data nor frames with `array`; it has {list(file)[:5]}"
        )
    for number in _wanted(path, len(frames), config):
        _check_link(path, file, frames[number])
        array = _array(path, file[frames[number]], "array", 3)
        yield RecordedFrame(number, _image(path, array, None, config), None, None)


def _wanted(path: object, count: int, config: ReadConfig) -> Iterator[int]:
    if not count:
        raise MediumError("no-frames", f"{path}: it holds no frame")
    for number in wanted_frames(path, count, config):
        if number >= count:
            return
        yield number


def _image(path: object, colour: h5py.Dataset, number: int | None, config: ReadConfig) -> Frame:
    *_, channels, height, width = colour.shape
    if channels != 3 or colour.dtype != np.uint8:
        raise MediumError("not-an-image", f"{path}: {colour.name} is {colour.dtype} {colour.shape}, expected 3 x uint8")
    config.check_pixels(path, width, height)
    planes = colour[()] if number is None else colour[number]
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _array(path: object, group: h5py.Group, name: str, dimensions: int) -> h5py.Dataset:
    _check_link(path, group, name)
    found = group[name]
    if not isinstance(found, h5py.Dataset) or found.ndim != dimensions:
        raise MediumError("not-an-image", f"{path}: {name} is not an array of {dimensions} dimensions")
    if found.is_virtual or found.external:
        raise MediumError("unreadable", f"{path}: {name} is kept in another file, which is not followed")
    return found


def _check_link(path: object, group: h5py.Group, name: str) -> None:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise MediumError("unreadable", f"{path}: {name} is a link, which is not followed")


def _number(name: str) -> int:
    found = re.search(r"\d+$", name)
    return int(found.group()) if found else -1
