"""The study of radios, told apart by their raw I/Q bursts: network, emulated captures and the source's two commands."""
