"""A Spark with a Hive metastore that runs statements and queries, as a program of its own.

    python spark_queries.py QUESTIONS ANSWERS

The questions are a list of `{"zone": …, "statements": […], "queries": […]}`, each for a database of
its own; the answers are a list of `{"error": …, "rows": [[…], …]}`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from support.tables import plain


def answer(spark: Any, number: int, question: dict[str, Any]) -> dict[str, Any]:
    spark.conf.set("spark.sql.session.timeZone", question["zone"])
    spark.sql(f"CREATE DATABASE d{number}")
    spark.sql(f"USE d{number}")
    try:
        for statement in question["statements"]:
            spark.sql(statement)
        rows = [
            [[plain(value) for value in row] for row in spark.sql(query).collect()]
            for query in question["queries"]
        ]
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:500], "rows": []}
    return {"error": "", "rows": rows}


def main(questions: str, answers: str) -> None:
    folder = Path(answers).parent
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.memory": "1g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
        # Each of 70 small queries would be compiled: interpreted they give the same rows sooner.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder}",
        "spark.hadoop.javax.jdo.option.ConnectionURL": "jdbc:derby:memory:hive;create=true",
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.enableHiveSupport().getOrCreate()
    asked = json.loads(Path(questions).read_text(encoding="utf-8"))
    found = [answer(spark, number, question) for number, question in enumerate(asked)]
    Path(answers).write_text(json.dumps(found), encoding="utf-8")
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
