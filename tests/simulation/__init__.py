"""A deterministic simulation: one seed decides all that happens, and the real code runs in it.

Read `plan.py` first (what is done, and when), then `model.py` (what must hold), `world.py` (what
runs it), `s3.py` (the store, with its faults) and `processes.py` (the time, and who is next).
"""
