"""Archive -> deliveries and events: look up, follow, count, query, compact.

    from hookshelf import Archive

    for event in Archive("my-webhooks").find("jane@example.com", since="4w"):
        print(event.time, event.type, event.data)

`Archive(location=None, *, app=None, stage=None, environ=None)` is everything at a location: a
bucket (`my-webhooks`, `my-webhooks/path`), a folder (`./archive`: a folder of buckets, or one of
them), or, without one, every entry of ARCHIVE_BUCKETS and every path below it, as `environ`, the
environment, or the Chalice stage `stage` has it. `app` limits it to one app.

    apps()                      every app there is at every place             list[Stream]
    find(subject, …)            events, each once, by their own time          Found: iterate; .read
                                type= id= correlation= app= since= until= limit= all=
    count(by=[…], …)            events and repeats by fields of COUNTABLE     Counted: .rows, .read
    deliveries(…)               keys, sizes and states, oldest first          Deliveries: iterate
                                whole=True: with bodies and metadata, quickly
    whole(deliveries)           some of a listing with their bodies, in order  Deliveries: iterate
    delivery(hash_or_key)       one, with its exact body and metadata         ArchivedDelivery
    verify(…)                   every delivery checked again, and the log     Verified: iterate
    evidence(delivery, event)   files that prove it without our software      dict[str, bytes]
    readmit(…) adopt(…)         what comes in by another way; yields what     Iterator
    pull(folder, …)             a range into a folder; yields what            Iterator[Pulled]
    logged(delivery)            the entry of the log that names it        LogEntry or None
    manifests()                 the head of each app's manifest log           list[ManifestHead]
    events_of(delivery)         what it carries                               list[ArchivedEvent]
    refused(…)                  what lies under `_rejected/`                  Deliveries
    follow(…)                   .poll(): what has arrived since the last      Follower
    coverage(…)                 what an answer stands on, for each app        list[Coverage]
    status()                    what is there, from footers and log           list[Status]
    tables()                    each place as a table, for Athena and Spark   list[EventsTable]
    query(sql)                  DuckDB over events, events_once, deliveries   Queried: .columns, …
    compact(…)                  make files agree with raw and log; yields     Iterator[FileChange]
    log_days(…) compact_day(…)  the same on many machines, day by day         list[LoggedDay], …

Times are arrival (`since` up to and without `until`): `14d`, `2026-11-20`, a datetime or timedelta.
What is raised is a ReadingError (errors.py), or chalicelib's SettingError, NotStored, Unreadable.

How it is made, from the outside in; each part knows only those below it:

    archive.py                  the value above: opens stores, finds streams, and asks
    lookup.py scan.py           few rows by subject, id or correlation; all rows, in SQL
    verifying.py checking.py    everything checked again; one delivery, in other processes
    listing.py bodies.py        which deliveries there are; all of them, whole
    loading.py                  some of them whole, in the order asked for
    admitting.py                in by another way, the log first: readmitting.py, adopting.py
    pulling.py evidence.py      out of the archive: into a folder, or as a case
    scheduled.py                the compactor of a stage: a Lambda function that calls `compact`
    compact.py                  the writer: what is to do, in which order, what is deleted last
    merge.py                    rows of files and of raw objects -> one sorted, checked file
    manifest.py                 the log of what there is and what was changed
    files.py footers.py         which compacted files count, and what their footers say
    rows.py split.py            a delivery as rows, and back again, byte for byte
    store/                      the port: list, ranges, conditional put, delete

For people, over these values: words.py (sentences, outcomes), lines.py (JSON, CSV), prices.py.
"""

from hookshelf.reading.archive import Archive

__all__ = ["Archive"]
