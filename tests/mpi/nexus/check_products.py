# SPDX-License-Identifier: BSD-3-Clause
"""Reads what the program writes with h5py and, where it is installed, resolves the default plot as silx view does.

check_products.py WRITER MPIRUN...: MPIRUN is followed by a rank count and a command.
"""
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
try:
    from silx.io.nxdata import get_default
    import silx.io
except ImportError:
    get_default = None
    print("skipped: silx is not installed, its view of the default plot is not checked")


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def follow_default(file):
    """The NeXus rule: @default from the root down to an NXdata."""
    group = file
    while text(group.attrs.get("NX_class", "")) != "NXdata":
        group = group[text(group.attrs["default"])]
    return group


def check(path):
    expected = 2.8 + 0.01 * np.arange(12).reshape(3, 4)
    expected[1, 1] = np.nan
    with h5py.File(path, "r") as file:
        assert text(file.attrs["file_type"]) == "xrdct"
        assert int(file.attrs["format_version"]) == 1
        assert text(file.attrs["creation_time"]).endswith("Z")
        assert text(file["entry/title"][()]) == "sample, 20 µm"
        data = follow_default(file)
        assert data.name == "/entry/rietveld/NMC532 (P)", data.name
        signal = data[text(data.attrs["signal"])]
        assert signal.dtype == np.float64 and text(signal.attrs["units"]) == "angstrom"
        np.testing.assert_array_equal(signal[()], expected)
        axes = [text(name) for name in data.attrs["axes"]]
        assert axes == ["y", "x"]
        assert [data[name].shape[0] for name in axes] == list(signal.shape)
        np.testing.assert_array_equal(file["entry/a_map"][()], expected)
        volume = file["entry/fbp/volume/volume"]
        assert volume.compression == "gzip" and volume.shuffle and volume.chunks == (1, 3, 4)
        np.testing.assert_array_equal(volume[()], np.arange(84, dtype=np.float32).reshape(7, 3, 4))
    if get_default is not None:
        with silx.io.open(str(path)) as file:
            plot = get_default(file)
            assert plot is not None and plot.is_valid, "silx finds no default plot"
            assert plot.is_image and plot.signal_name in ("a", "a of the cathode")
            assert plot.axes_names == ["y", "x"] or list(plot.axes_names) == ["y", "x"]
            np.testing.assert_array_equal(plot.signal[()], expected)
            np.testing.assert_array_equal(plot.axes[1], [-2, -1, 0, 1])
            assert plot.errors is not None and np.all(plot.errors[()] == 0.001)
    print(f"{path.name}: read by h5py" + (" and silx" if get_default is not None else ""))


writer, mpirun = sys.argv[1], sys.argv[2:]
with tempfile.TemporaryDirectory() as folder:
    serial = Path(folder) / "serial.nxs"
    subprocess.run([writer, serial], check=True)
    check(serial)
    for ranks in (1, 2, 3):
        parallel = Path(folder) / f"parallel{ranks}.nxs"
        subprocess.run([*mpirun, str(ranks), writer, parallel, "parallel"], check=True)
        check(parallel)
    assert sorted(p.name for p in Path(folder).iterdir()) == [
        "parallel1.nxs", "parallel2.nxs", "parallel3.nxs", "serial.nxs"]
