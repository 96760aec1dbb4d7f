"""Compact an archive on a Spark cluster: days, then months, each on whichever worker is free.

spark-submit examples/compact_on_spark.py --archive my-webhooks
"""

import argparse
import os
from calendar import monthrange

from pyspark import SparkContext

from hookshelf import Archive


def main(location: str) -> None:
    """Write the same files as `hookshelf compact --bucket LOCATION`."""
    context = SparkContext.getOrCreate()

    def archive():  # each worker's own, with its own credentials
        return Archive(location, environ=os.environ)

    def compact_month(app, year, month):
        first, last = f"{year}-{month:02}-01", f"{year}-{month:02}-{monthrange(year, month)[1]}"
        return list(archive().compact(app=app, since=first, until=last))

    days = archive().log_days()
    context.parallelize(days, len(days) or 1).map(lambda day: archive().compact_day(day)).count()
    months = sorted({(day.stream.app, day.day.year, day.day.month) for day in days})
    context.parallelize(months, len(months) or 1).map(lambda month: compact_month(*month)).count()
    for change in archive().compact():  # what is left: the hours of today
        print(change.state, f"{change.bucket}/{change.file}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--archive", required=True, help="bucket or bucket/path")
    main(parser.parse_known_args()[0].archive)  # Glue adds options of its own
