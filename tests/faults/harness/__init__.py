"""The fault harness of landing: faults drawn from a seed, workers that land through them, and what must hold afterwards.

    python -m tests.faults.harness --kills 1000 --seed 7

An *episode* is a stream of its own. Events arrive while workers (`lockgate land now`, `tail`, `land replay`, `land sweep`, as
processes) are at it in a few *lanes*, one after the other in each, and each is struck at some point of its work; meanwhile one
trouble after the other comes over a server, over the way to it, or over a clock. At the end everything is landed, and held
against what Kafka has.

`draws`: what happens, pure. `points`: where a worker can be struck. `workers`: their processes. `lanes`: one after the other.
`links`: the way to a server that can be cut. `stand`: the servers. `arrivals`: what arrives. `truth`: what must hold.
`episode`: all of it together.

Everything that makes a fault is here; the code under test has no hook for any of it.
"""
