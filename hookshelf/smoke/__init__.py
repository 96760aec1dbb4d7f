"""What cannot be seen without AWS: a stack of its own, fifteen checks, a table, all removed again.

`make smoke-aws` runs it. A check is one function under `@check`, and checks.py has them in order;
site.py makes what they look at and takes it away, world.py is what they are given.
"""
