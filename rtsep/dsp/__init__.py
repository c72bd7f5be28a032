"""Signal processing on streams: windows, FFT, framing, overlap-add, gain ramps, resampling."""
