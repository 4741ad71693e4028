"""The physics of emulated bursts: transmitters, channels and waveforms."""
