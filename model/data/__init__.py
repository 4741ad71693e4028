"""Captures on disk and the batches of tensors made of them. This package knows no network and no study."""

import os

for _name in (
    "HDF5_DRIVER",
    "HDF5_DRIVER_CONFIG",
    "HDF5_PLUGIN_PATH",
    "HDF5_PLUGIN_PRELOAD",
    "HDF5_VOL_CONNECTOR",
):
    # HDF5 reads these variables when h5py is imported. They could replace a capture's bytes by others.
    os.environ.pop(_name, None)
