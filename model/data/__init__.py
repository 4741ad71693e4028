"""Captures on disk and the batches made of them."""

import os

for _name in (
    "HDF5_DRIVER",
    "HDF5_DRIVER_CONFIG",
    "HDF5_PLUGIN_PATH",
    "HDF5_PLUGIN_PRELOAD",
    "HDF5_VOL_CONNECTOR",
):
    # HDF5 reads these when h5py is imported. They can put other bytes in the place of a capture's own.
    os.environ.pop(_name, None)
