"""Pure rules: offsets, batches, windows, fingerprints, verdicts. No I/O, no clock, no settings: values in, values out."""
