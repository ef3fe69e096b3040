"""The command line: a thin skin over `meshwright.pipeline`, and the only place that knows a terminal."""
