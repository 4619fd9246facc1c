# SPDX-License-Identifier: BSD-3-Clause
"""Scans as h5py users write them, read by the program. check_scans.py READER"""
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import h5py
    import numpy as np
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

reader = sys.argv[1]
rotation = np.linspace(0, 180, 6)
translation = np.arange(5) * 0.02 - 0.04
two_theta = np.linspace(1, 10, 9)
intensity = np.random.default_rng(3).poisson(50, (6, 5, 9))
wavelength, distance = 0.1198, 950.0


def write(path, order, dtype, fixed, modify=lambda file: None, **storage):
    def attribute(value):
        if not fixed:
            return value
        return np.array(value, dtype="S") if isinstance(value, list) else np.bytes_(value.encode())

    names = ["rotation_angle", "translation", "two_theta"]
    with h5py.File(path, "w") as file:
        file.attrs["default"] = attribute("entry")
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = attribute("NXentry")
        entry.attrs["default"] = attribute("data")
        for name, nx_class, dataset, value, units in [
            ("beam", "NXbeam", "incident_wavelength", wavelength, "Å"),
            ("detector", "NXdetector", "distance", [distance / 1000], "m"),
        ]:
            group = entry.create_group(f"instrument/{name}")
            group.attrs["NX_class"] = attribute(nx_class)
            group[dataset] = value
            group[dataset].attrs["units"] = attribute(units)
        data = entry.create_group("data")
        data.attrs["NX_class"] = attribute("NXdata")
        data.attrs["signal"] = attribute("intensity")
        data.attrs["axes"] = attribute([names[i] for i in order])
        data.create_dataset("intensity", data=intensity.transpose(order).astype(dtype), **storage)
        for name, values, units in zip(names, (rotation, translation, two_theta), ("degree", "mm", "deg")):
            data[name] = values
            data[name].attrs["units"] = attribute(units)
        modify(file)


def expect(path):
    run = subprocess.run([reader, "--read", path], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = np.array([float(x) for x in run.stdout.split()])
    flat = intensity.astype(np.float64).ravel()
    expected = [6, 5, 9, 180, translation[0], 10, wavelength, distance, np.sum(flat * (np.arange(flat.size) % 101))]
    np.testing.assert_allclose(found, expected, rtol=1e-8)


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "scan.h5"
    for order in [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)]:
        for dtype in ["<f4", ">f4", "f8", "i4", ">u2", "f2"]:
            for fixed in (False, True):
                write(path, order, dtype, fixed)
                expect(path)
    write(path, (1, 0, 2), "f4", False, chunks=(2, 3, 4), compression="gzip", shuffle=True)
    expect(path)
    write(path, (0, 1, 2), "f4", False, chunks=True, fletcher32=True)
    expect(path)
    # A filter that h5py brings and HDF5 has from its plugins only.
    write(path, (0, 1, 2), "f4", False, chunks=True, compression="lzf")
    run = subprocess.run([reader, "--read", path], capture_output=True, text=True)
    if run.returncode == 0:
        expect(path)
    else:
        assert run.returncode == 1 and "/entry/data/intensity" in run.stderr and "lzf" in run.stderr, run.stderr
    with h5py.File(Path(folder) / "raw.h5", "w") as raw:
        raw["counts"] = intensity.astype("f4")

    def link(file):
        del file["entry/data/intensity"]
        file["entry/data/intensity"] = h5py.ExternalLink("raw.h5", "/counts")

    write(path, (0, 1, 2), "f4", False, modify=link)
    expect(path)

    def virtual(file):
        del file["entry/data/intensity"]
        layout = h5py.VirtualLayout(shape=intensity.shape, dtype="f4")
        layout[:] = h5py.VirtualSource(str(Path(folder) / "raw.h5"), "counts", shape=intensity.shape)
        file["entry/data"].create_virtual_dataset("intensity", layout)

    write(path, (0, 1, 2), "f4", False, modify=virtual)
    expect(path)
print("all layouts were read")
