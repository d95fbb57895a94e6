"""Landing: offset ranges of Kafka into staging, exactly once, with a proof for each batch.

Belongs here: reading bounded ranges, inserting them, counting them, making them visible, and the tables this needs; landing them
anew, the quarantine, and proving that all of it is there. Does not: marts, gates, or anything that knows what an event means
beyond its contract.
"""
