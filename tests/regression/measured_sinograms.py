# SPDX-License-Identifier: BSD-3-Clause
"""Measured single-channel sinograms through `xrdct run`, against scikit-image's filtered back-projection.

usage: measured_sinograms.py XRDCT LAUNCHER   (LAUNCHER: the words of mpirun … -n, separated by '|')
"""

import os
import subprocess
import sys
import tempfile

try:
    import h5py
    import numpy
    from skimage.transform import iradon
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

data = os.environ.get("XRDCT_DATA")
source = os.path.join(data, "sinograms", "measured_sinograms.h5") if data else None
if not source or not os.path.exists(source):
    print("skipped: XRDCT_DATA names no folder with sinograms/measured_sinograms.h5")
    sys.exit(77)

program, launcher = sys.argv[1], sys.argv[2].split("|")
failed = False
with h5py.File(source) as file:
    sinograms = {name: numpy.array(file[name], dtype=float) for name in ("MnNaWSiO2", "POX")}

for name, sinogram in sinograms.items():
    n_rotation, n_translation = sinogram.shape
    half = (n_translation - 1) / 2
    with tempfile.TemporaryDirectory() as folder:
        job = os.path.join(folder, "job.toml")
        with open(job, "w") as text:
            text.write(f"""stages = ["fbp"]
[input]
file = "{source}"
intensity = "/{name}"
axes = ["rotation_angle", "translation"]
rotation_range = [0.0, 180.0]
rotation_range_closed = false
translation_range = [{-half}, {half}]
[fbp]
window = "ram-lak"
""")
        subprocess.run(launcher + ["2", program, "run", job], check=True, timeout=120)
        with h5py.File(os.path.join(folder, "results", "fbp.nxs")) as product:
            image = product["/entry/fbp/total/total"][()]
    angles = numpy.linspace(0, 180, n_rotation, endpoint=False)
    # scikit-image: radon at angle 0 sums along rows, so that translation runs along x; y points down.
    reference = iradon(sinogram.T, theta=angles, filter_name="ramp", interpolation="linear", circle=True)
    y, x = numpy.mgrid[:n_translation, :n_translation] - half
    disc = numpy.hypot(x, y) < 0.97 * half
    correlation = {flip: numpy.corrcoef(view[disc], image[disc])[0, 1]
                   for flip, view in (("as it is", reference), ("flipped up-down", reference[::-1]))}
    best = max(correlation, key=correlation.get)
    view = reference if best == "as it is" else reference[::-1]
    scale = (view[disc] * image[disc]).sum() / (view[disc] ** 2).sum()
    print(f"{name}: correlation {correlation[best]:.5f} ({best}), scale {scale:.4f}, {image.shape}")
    # Image rows run along +y here and along -y there: the same picture seen with y upwards.
    failed = failed or not correlation[best] >= 0.995 or best != "flipped up-down"

sys.exit(1 if failed else 0)
