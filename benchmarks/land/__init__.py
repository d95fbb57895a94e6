"""Parts of the benchmark of landing: events and topics, what is measured, who is. `benchmarks.landing` puts them together."""
