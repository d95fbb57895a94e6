"""Pure transforms: DataFrame in, DataFrame out, nothing read or written, no session settings relied upon."""
