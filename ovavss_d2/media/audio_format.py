"""Audio constants: the sample rate, and the log-mel examples of VGGish."""

SAMPLE_RATE = 16000  # Hz, of all audio inside the project; a frame is paired with one second

# A log-mel example: 96 windows of 25 ms, 10 ms apart, by 64 mel bands. Lengths are in samples.
WINDOW_LENGTH = 400
WINDOW_HOP = 160
FFT_LENGTH = 512
EXAMPLE_WINDOWS = 96
MEL_BANDS = 64
MEL_MIN_HZ, MEL_MAX_HZ = 125.0, 7500.0
LOG_OFFSET = 0.01  # added to the mel magnitudes before the logarithm

EXAMPLE_SAMPLES = (EXAMPLE_WINDOWS - 1) * WINDOW_HOP + WINDOW_LENGTH
EXAMPLE_HOP = EXAMPLE_WINDOWS * WINDOW_HOP  # from the start of one example to that of the next
