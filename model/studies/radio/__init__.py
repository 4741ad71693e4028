"""Telling radios apart by their raw I/Q bursts: the network, the emulated captures and the source's two commands."""
