"""What cannot be seen without AWS: a stack of its own, checks, a table, all removed again.

`make smoke-aws` runs it. A check is one function under `@smoke_check`, and checks.py has them in
order; resources.py makes what they look at and takes it away, target.py is what they are given.
"""
