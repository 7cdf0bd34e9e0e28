"""Reads a table with dlt's sql_database into Parquet files: load.py URL TABLE FOLDER"""

import sys

import dlt
from dlt.sources.sql_database import sql_table

url, table, folder = sys.argv[1:]
pipeline = dlt.pipeline(
    "peer",
    pipelines_dir=f"{folder}/state",
    dataset_name="peer",
    destination=dlt.destinations.filesystem(bucket_url=f"{folder}/out"),
)
# Arrow tables, not an object per row
source = sql_table(credentials=url, table=table, backend="pyarrow")
pipeline.run(source, loader_file_format="parquet")
