"""The report as one self-contained HTML page: recorded results in, HTML out."""
