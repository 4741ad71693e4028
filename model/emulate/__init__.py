"""The physics of emulated bursts: transmitters, channels and waveforms. It knows no study and no torch."""
