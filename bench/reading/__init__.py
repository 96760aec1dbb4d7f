"""What reading costs, against peers: `python -m bench.reading`.

    limits.py        what must hold: every limit, and which figure it is about
    figures.py       the figures: each a function, with what it measures and how
    data.py          the archives that are read: 0.2, 2 and 20 million events, made once
    generated.py     a store whose raw objects are made up as they are read, and never lie anywhere
    peers.py         the same question asked with zgrep over hourly gzip, and DuckDB over raw JSON
    store_server.py  an S3 server that waits 30 ms before each response, and counts requests
    memory.py        how much memory a process and its children take at most
    report.py        the tables

The traffic is that of hookshelf/local/traffic.py, which `make demo` uses too.
"""
