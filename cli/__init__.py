"""The command line: parse, call seqgen, print."""
