"""Reports: rows computed once, printed as a table, JSON, CSV, Markdown or HTML."""
