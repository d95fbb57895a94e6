"""The laptop's infrastructure: Java, broker, warehouse, PostgreSQL, and the supervisor that keeps them running.

Belongs here: starting, watching and stopping child processes, their files and their passwords. Does not: what is done
with them once they run (`clients` and above), nor any knowledge of a deployment on a cluster: there an address in the
environment replaces the part, and the code of this package is not used for it.
"""
