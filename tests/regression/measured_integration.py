# SPDX-License-Identifier: BSD-3-Clause
"""The measured CeO2 frame through `xrdct integrate`: means against pyFAI as it is, every engine that it has
(same bins; no splitting and bounding-box splitting; with and without polarisation; 2theta and q), the other
estimators against sorted arrays of numpy and scipy, line positions against the cell of CeO2.

pyFAI keeps positions on the detector in single precision where it bins pixels: of two million some hundred
fall on the other side of a channel's border than with double precision. xrdct rounds likewise. pyFAI's engines
in Cython stretch the upper limit by 2^-23: the bins are those that its axis states. With splitting pyFAI puts
what lies beyond the limits into the outermost channels, which are left out where that is something.

    measured_integration.py XRDCT
"""

import logging
import os
import subprocess
import sys

logging.disable(logging.WARNING)
try:
    import fabio
    import h5py
    import numpy as np
    import pyFAI
    import pyFAI.azimuthalIntegrator
    from pyFAI.method_registry import IntegrationMethod
    from scipy.stats import trim_mean
except ImportError as error:
    print("skipped:", error)
    sys.exit(77)

data = os.path.join(os.environ.get("XRDCT_DATA", ""), "frames")
if not os.path.exists(os.path.join(data, "CeO2.cbf")):
    print("skipped: XRDCT_DATA names no folder with frames/CeO2.cbf")
    sys.exit(77)
program = os.path.abspath(sys.argv[1])
frame_name, poni, mask_name = (os.path.join(data, n) for n in ("CeO2.cbf", "CeO2.poni", "mask.edf"))
frame, mask = fabio.open(frame_name).data, fabio.open(mask_name).data != 0
channels, low, high = 2048, 0.6, 20.0
failed = False


def report(name, ok, text):
    global failed
    failed |= not ok
    print("ok  " if ok else "FAIL", name, text)


def run(*arguments):
    command = [program, "integrate", frame_name, "--poni", poni, "--mask", mask_name, "--channels",
               str(channels), "--min", repr(low), "--max", repr(high), "--output", "out.nxs", "--force"]
    result = subprocess.run(command + list(arguments), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    with h5py.File("out.nxs") as file:
        group = file["entry/patterns"]
        return (group["two_theta"][()], group["intensity"][0], group["intensity_errors"][0],
                group["pixels"][()])


ai = pyFAI.load(poni)
rows = (np.arange(frame.shape[0]) + 0.5) * ai.pixel1 - ai.poni1
columns = (np.arange(frame.shape[1]) + 0.5) * ai.pixel2 - ai.poni2
positions = np.stack([np.broadcast_to(rows[:, None], frame.shape),
                      np.broadcast_to(columns[None], frame.shape), np.full(frame.shape, ai.dist)])
position = np.einsum("ab,bij->aij", ai.rotation_matrix(), positions)
exact = np.arctan2(np.hypot(position[0], position[1]), position[2])
two_theta = ai.twoThetaArray(frame.shape)
report("positions", np.abs(two_theta - exact).max() < 1e-7,
       "of pyFAI, rounded, are up to %.1e rad off" % np.abs(two_theta - exact).max())

engines = [(split, key.algo, key.impl) for split in ("no", "bbox") for key in IntegrationMethod._registry
           if key.dim == 1 and key.split == split and key.impl in ("python", "cython")]
assert ("no", "histogram", "cython") in engines and ("bbox", "csr", "cython") in engines, engines
for splitting, algorithm, implementation in engines:
    for unit, their_unit, limits, polarization in (
            ("2theta", "2th_deg", (0.6, 20.0), None), ("2theta", "2th_deg", (0.6, 20.0), 0.95),
            ("q", "q_A^-1", (0.4, 12.0), None)):
        if (unit == "q" or polarization) and algorithm == "lut":
            continue
        ai = pyFAI.load(poni)
        r = ai.integrate1d(frame, channels, mask=mask, unit=their_unit, radial_range=limits,
                           method=(splitting, algorithm, implementation),
                           polarization_factor=polarization, error_model="poisson")
        width = (r.radial[-1] - r.radial[0]) / (channels - 1)
        low, high = float(r.radial[0] - width / 2), float(r.radial[-1] + width / 2)
        more = [] if polarization is None else ["--polarization", str(polarization)]
        x, y, e, n = run("--unit", unit, "--splitting", "none" if splitting == "no" else splitting, *more)
        used = np.isfinite(y) & (r.intensity > 100)
        if splitting != "no" and unit == "q":
            used[[0, -1]] = False
        difference = np.abs(y / r.intensity - 1)[used]
        name = "mean, %s, %s, %s, %s" % (splitting, algorithm, implementation, unit)
        if polarization is not None:
            name += ", polarisation"
        report(name, difference.max() < 1e-4 and used.sum() > 1900,
               "%d channels, largest difference %.1e" % (used.sum(), difference.max()))
        if splitting == "no":
            report(name + ": pixels", np.array_equal(n, r.count), "")
            # The CSR engine in Python takes its variances another way.
            if (algorithm, implementation) != ("csr", "python"):
                error = np.abs(e / r.sigma - 1)[used].max()
                report(name + ": errors", error < 1e-4, "largest difference %.1e" % error)

# Channels of whole pixels, each sorted out by numpy.
low, high = 0.6, 20.0
solid_angle = (ai.dist / np.sqrt((positions**2).sum(0))) ** 3
use = ~mask & (frame >= 0)
bins = np.floor((np.degrees(two_theta) - low) / (high - low) * channels).astype(int)[use]
corrected = (frame / solid_angle)[use]
order = np.argsort(bins, kind="stable")
groups = np.split(corrected[order], np.searchsorted(bins[order], np.arange(1, channels)))


def compare(name, function, *arguments, limit=1e-6):
    x, y, e, n = run(*arguments)
    expected = np.array([function(g) if len(g) else np.nan for g in groups])
    ok = np.array_equal(np.isnan(y), np.isnan(expected))
    error = np.nanmax(np.abs(y / expected - 1))
    report(name, ok and error < limit, "largest difference %.1e" % error)
    return e, n


compare("trimmed mean, 10 %", lambda g: trim_mean(g, 0.1), "--estimator", "trimmed-mean")
compare("trimmed mean, 25 %", lambda g: trim_mean(g, 0.25), "--estimator", "trimmed-mean", "--trim", "0.25")
compare("median", np.median, "--estimator", "median")

# Positions of the lines: centroids above a straight background.
x, y, e, n = run()
wavelength, a = ai.wavelength * 1e10, 5.4115
shifts = []
for h, k, l in ((1, 1, 1), (2, 0, 0), (2, 2, 0), (3, 1, 1), (3, 3, 1), (4, 2, 0), (4, 2, 2), (5, 3, 1)):
    line = 2 * np.degrees(np.arcsin(wavelength * np.sqrt(h * h + k * k + l * l) / (2 * a)))
    near = np.abs(x - line) < 0.1
    background = np.interp(x[near], [line - 0.1, line + 0.1],
                           [np.median(y[np.abs(x - line + 0.1) < 0.03]),
                            np.median(y[np.abs(x - line - 0.1) < 0.03])])
    weight = np.clip(y[near] - background, 0, None)
    weight[weight < 0.2 * weight.max()] = 0
    shifts.append((x[near] * weight).sum() / weight.sum() - line)
report("CeO2 lines", np.abs(shifts).max() < 0.003,
       "largest shift %.4f deg" % np.abs(shifts).max())
sys.exit(failed)
