"""The demo: sample events, bad events, a payments stream, and a stand-in for the old pipeline that is to be replaced.

Belongs here: what `lockgate demo` shows. Does not: anything that production code imports; import-linter forbids it.
"""
