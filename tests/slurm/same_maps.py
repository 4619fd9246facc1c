"""same_maps.py A B: the float datasets of the products in two results folders are equal to 1e-9 of the largest value.

Exit code 77 without h5py.
"""
import os
import sys

try:
    import h5py
    import numpy
except ImportError:
    sys.exit(77)

one, other = sys.argv[1:3]
compared = 0
for name in ("absorption.nxs", "fbp.nxs", "rietveld.nxs", "dlsr.nxs"):
    if not os.path.exists(os.path.join(one, name)):
        continue
    with h5py.File(os.path.join(one, name)) as a, h5py.File(os.path.join(other, name)) as b:

        def check(path, node):
            global compared
            if not isinstance(node, h5py.Dataset) or node.dtype.kind != "f" or "timings" in path:
                return
            x, y = numpy.asarray(node[()], float), numpy.asarray(b[path][()], float)
            if x.shape != y.shape or (numpy.isfinite(x) != numpy.isfinite(y)).any():
                sys.exit(f"{name}:{path}: other values are missing")
            finite = numpy.isfinite(x)
            if finite.any():
                difference = numpy.abs(x[finite] - y[finite]).max()
                if difference > 1e-9 * numpy.abs(x[finite]).max():
                    sys.exit(f"{name}:{path}: differs by {difference}")
            compared += 1

        a.visititems(check)
if compared < 100:
    sys.exit(f"only {compared} datasets were compared")
print(f"{compared} datasets are equal")
