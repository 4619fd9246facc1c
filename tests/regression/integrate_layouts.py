# SPDX-License-Identifier: BSD-3-Clause
"""Frames as detectors write them, made by h5py and numpy, through `xrdct integrate` against a plain
numpy histogram: Eiger (master file, external links, bitshuffle/LZ4), Lambda (one file per line), LZ4,
CBF and EDF series written by fabio, masks of every format. Skips what is not installed, and says so.

    integrate_layouts.py XRDCT "MPIRUN|WORDS"
"""

import os
import subprocess
import sys

try:
    import h5py
    import numpy as np
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

program, mpirun = os.path.abspath(sys.argv[1]), sys.argv[2].split("|")
rows, columns, channels, frames = 60, 80, 37, 12
pixel, distance, poni1, poni2 = 0.2, 300.0, 5.3, 6.1  # mm
rot1, rot2, rot3 = 0.03, -0.05, 0.4
low, high = 0.1, 2.6
bitshuffle, lz4 = 32008, 32004
done = []

with open("detector.poni", "w") as file:
    file.write(
        "poni_version: 2\nDetector: Detector\n"
        'Detector_config: {"pixel1": %r, "pixel2": %r}\n' % (1e-3 * pixel, 1e-3 * pixel)
        + "Distance: %r\nPoni1: %r\nPoni2: %r\nRot1: %r\nRot2: %r\nRot3: %r\nWavelength: 2e-11\n"
        % (1e-3 * distance, 1e-3 * poni1, 1e-3 * poni2, rot1, rot2, rot3)
    )


def rotation(axis, angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array({1: [[1, 0, 0], [0, c, -s], [0, s, c]],
                     2: [[c, 0, s], [0, 1, 0], [-s, 0, c]],
                     3: [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis])


matrix = rotation(3, rot3) @ rotation(2, -rot2) @ rotation(1, -rot1)
y, x = np.mgrid[0:rows, 0:columns] + 0.5
position = np.einsum("ab,bij->aij", matrix, np.stack(
    [y * pixel - poni1, x * pixel - poni2, np.full((rows, columns), distance)]))
two_theta = np.degrees(np.arctan2(np.hypot(position[0], position[1]), position[2]))
incidence = distance / np.sqrt((y * pixel - poni1) ** 2 + (x * pixel - poni2) ** 2 + distance**2)

random = np.random.default_rng(4)
mask = random.random((rows, columns)) < 0.03
stack = random.poisson(50 + 30 * np.cos(4 * two_theta), (frames, rows, columns))
saturated = random.random(stack.shape) < 0.001


def expected(frame, invalid):
    used = ~mask & ~invalid
    total = np.histogram(two_theta[used], channels, (low, high), weights=frame[used])[0]
    norm = np.histogram(two_theta[used], channels, (low, high), weights=incidence[used] ** 3)[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / norm


truth = np.array([expected(f, s) for f, s in zip(stack, saturated)])


def run(*arguments, ranks=0, fails=False):
    command = [program, "integrate", *arguments, "--poni", "detector.poni", "--channels",
               str(channels), "--min", str(low), "--max", str(high), "--output", "out.nxs", "--force"]
    if ranks:
        command = mpirun + [str(ranks)] + command
    result = subprocess.run(command, capture_output=True, text=True)
    if fails:
        assert result.returncode == 1, result.stderr
        return result.stderr
    assert result.returncode == 0, result.stderr
    with h5py.File("out.nxs") as file:
        group = file["entry/patterns"] if "patterns" in file["entry"] else file["entry/data"]
        return group["intensity"][()], result.stderr


def check(name, *arguments, ranks=0, against=truth):
    intensity, messages = run(*arguments, ranks=ranks)
    assert intensity.shape == against.shape, (name, intensity.shape, against.shape)
    assert np.array_equal(np.isnan(intensity), np.isnan(against)), name
    error = np.nanmax(np.abs(intensity / against - 1))
    assert error < 1e-6, (name, error)
    done.append(name)
    return messages


np.save("mask.npy", mask)
with h5py.File("mask.h5", "w") as file:
    file["entry/mask"] = mask.astype(np.uint8)
pattern = ["--mask", "mask.npy"]

# Eiger: a master file links to files with 5 frames each; the largest number has no value.
marked = np.where(saturated, 2**32 - 1, stack).astype(np.uint32)


def eiger(name, filters):
    for number, begin in enumerate(range(0, frames, 5), 1):
        with h5py.File("%s_data_%06d.h5" % (name, number), "w") as file:
            file.create_dataset("entry/data/data", data=marked[begin:begin + 5],
                                chunks=(1, rows, columns), **filters)
    with h5py.File(name + "_master.h5", "w") as file:
        for number in (1, 2, 3):
            file["entry/data/data_%06d" % number] = h5py.ExternalLink(
                "%s_data_%06d.h5" % (name, number), "/entry/data/data")
        specific = file.create_group("entry/instrument/detector/detectorSpecific")
        specific["nimages"], specific["ntrigger"] = frames, 1
        specific["pixel_mask"] = mask.astype(np.uint32) * 4


eiger("plain", {})
messages = check("Eiger, external links, its own mask", "plain_master.h5")
assert "detector's own mask" in messages, messages
check("Eiger on 3 ranks", "plain_master.h5", ranks=3)
if h5py.h5z.filter_avail(bitshuffle):
    eiger("shuffled", dict(compression=bitshuffle, compression_opts=(0, 2)))
    check("Eiger, bitshuffle/LZ4", "shuffled_master.h5")
    check("Eiger, bitshuffle/LZ4, 2 ranks", "shuffled_master.h5", ranks=2)
    # A chunk that is damaged is masked, with a word, and nothing else moves.
    with h5py.File("shuffled_data_000002.h5") as file:
        info = file["entry/data/data"].id.get_chunk_info(2)
    with open("shuffled_data_000002.h5", "r+b") as file:
        file.seek(info.byte_offset + 12)
        file.write(b"\xff" * 40)
    damaged = truth.copy()
    damaged[7] = np.nan
    messages = check("damaged chunk masked", "shuffled_master.h5", against=damaged)
    assert "frame 7 is masked" in messages and "shuffled_data" not in messages.split("frame 7")[0]
    messages = run("shuffled_master.h5", "--bad-frames", "refuse", fails=True)
    assert "frame 2" in messages, messages
else:
    print("not checked: bitshuffle is not installed")
if h5py.h5z.filter_avail(lz4):
    eiger("lz4", dict(compression=lz4))
    check("Eiger, LZ4", "lz4_master.h5")
else:
    print("not checked: the LZ4 filter is not installed")
with h5py.File("plain_master.h5", "r+") as file:
    file["entry/instrument/detector/detectorSpecific/nimages"][...] = frames + 3
messages = run("plain_master.h5", fails=True)
assert "set to 15 frames" in messages and "leads to 12" in messages, messages
check("fewer frames than asked for, by name", "plain_master.h5", "--dataset", "entry/data/data_*")
os.rename("plain_data_000002.h5", "elsewhere.h5")
messages = run("plain_master.h5", fails=True)
assert "data_000002" in messages and "leads nowhere" in messages, messages
os.rename("elsewhere.h5", "plain_data_000002.h5")

# Lambda: 16 bit, one file per line of the scan.
marked = np.where(saturated, 65535, stack).astype(np.uint16)
for line in range(4):
    with h5py.File("line_%d.nxs" % (8 + line), "w") as file:
        detector = file.create_group("entry/instrument/detector")
        detector.attrs["NX_class"] = "NXdetector"
        detector.create_dataset("data", data=marked[3 * line:3 * line + 3], compression="gzip",
                                chunks=(2, rows, columns))
        file["entry/scan/angle"] = np.full(3, 60.0 * line)
        file["entry/scan/x"] = np.array([1.0, 0.5, 0.0])
check("Lambda, a file per line, natural order", "line_*.nxs", *pattern)
grid = truth.reshape(4, 3, -1)
check("positions of the files make a sinogram", "line_*.nxs", *pattern, "--rotation-angle-dataset",
      "entry/scan/angle", "--translation-dataset", "entry/scan/x", against=grid[:, ::-1])
snake = grid.copy()
snake[1::2] = snake[1::2, ::-1]
check("snake", "line_*.nxs", "--mask", "mask.h5::/entry/mask", "--rotations", "0:60:4",
      "--translations", "0:0.1:3", "--snake", ranks=2, against=snake)
check("rotation fast, falling", "line_*.nxs", "--mask", "mask.h5", "--rotations", "180:-45:3",
      "--translations", "0:0.1:4", "--fast", "rotation",
      against=truth.reshape(4, 3, -1).transpose(1, 0, 2)[::-1])
os.rename("line_9.nxs", "away.nxs")
gap = truth.copy()
gap[3:6] = np.nan
messages = check("a line that is missing is masked", "line_*.nxs", *pattern, "--rotations", "0:60:4",
                 "--translations", "0:0.1:3", against=gap.reshape(4, 3, -1))
assert "line_9.nxs" in messages and "missing" in messages, messages
with open("away.nxs", "rb") as source, open("line_9.nxs", "wb") as target:
    target.write(source.read()[:3000])
messages = check("a line that is cut off is masked", "line_*.nxs", *pattern, "--rotations", "0:60:4",
                 "--translations", "0:0.1:3", ranks=2, against=gap.reshape(4, 3, -1))
assert "line_9.nxs" in messages and "truncated" in messages, messages
messages = run("line_*.nxs", "--bad-frames", "refuse", fails=True)
assert "line_9.nxs" in messages and "truncated" in messages, messages
messages = run("line_*.nxs", "--rotation-angle-dataset", "entry/scan/angle", fails=True)
assert "line_9.nxs" in messages and "positions" in messages, messages
os.rename("away.nxs", "line_9.nxs")

try:
    import fabio
    from fabio.cbfimage import CbfImage
    from fabio.edfimage import EdfImage
except ImportError:
    print("not checked: fabio is not installed")
else:
    signed = np.where(saturated, -2, stack).astype(np.int32)
    for i in range(frames):
        CbfImage(data=signed[i]).write("frame_%d.cbf" % (i + 5))
        EdfImage(data=signed[i].astype(np.float32)).write("frame_%d.edf" % (i + 5))
    EdfImage(data=mask.astype(np.uint8)).write("mask.edf")
    CbfImage(data=mask.astype(np.int32)).write("mask.cbf")
    check("CBF series", "frame_*.cbf", "--mask", "mask.edf", ranks=2)
    floats = np.array([expected(f, np.zeros_like(mask)) for f in signed])
    check("EDF series", "frame_*.edf", "--mask", "mask.cbf", "--negative", "measured", against=floats)
    check("EDF series, negative marks", "frame_*.edf", "--mask", "mask.cbf")
    os.remove("frame_9.cbf")
    gap = truth.copy()
    gap[4] = np.nan
    messages = check("a CBF frame that is missing is masked", "frame_*.cbf", *pattern, against=gap)
    assert "frame_9.cbf" in messages, messages
    CbfImage(data=signed[4][:, :-1]).write("frame_9.cbf")
    messages = check("a CBF frame of another size is masked", "frame_*.cbf", *pattern, against=gap)
    assert "frame_9.cbf" in messages and "60 x 79" in messages, messages
    CbfImage(data=signed[4]).write("frame_9.cbf")
    with open("frame_9.cbf", "r+b") as file:
        file.seek(2000)
        file.write(b"\7")
    messages = check("a CBF frame with a wrong byte is masked", "frame_*.cbf", *pattern, against=gap)
    assert "frame_9.cbf" in messages and "MD5" in messages, messages
    with open("frame_9.cbf", "r+b") as file:
        file.truncate(3000)
    messages = check("a CBF frame that is cut off is masked", "frame_*.cbf", *pattern, against=gap)
    assert "frame_9.cbf" in messages and "cut off" in messages, messages

for name in done:
    print("ok:", name)
