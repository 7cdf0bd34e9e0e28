"""A local stand-in for a Databricks SQL warehouse: its REST dialect over real Spark and Delta."""
