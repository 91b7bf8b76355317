"""Beside peers from PyPI: time to accuracy (`python -m benchmarks.peers`), and the same job.

`ours` measures this project and `fits` one peer, in the peers' environment; `settings` has the
peers by name, `libraries` how each library is used; `results` makes the tables, `picture` draws.
"""
