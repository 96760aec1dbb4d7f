"""What receiving costs, against peers: `python -m bench.receive`.

deliveries.py  what is sent: an event as API Gateway makes it, hostile bodies
install.py     what is measured: our zip and the peers in peers/, installed into build/bench/
runtime.py     Lambda's Runtime API, which runs one function and times it
bucket.py      the S3 server that they put into
throttle.py    the share of a CPU that a Lambda function of some memory gets
measure.py     the rounds, interleaved
ratios.py      medians of per-round ratios, and what must hold of them
cost.py        memory sizes by time and by money
report.py      the tables
"""
