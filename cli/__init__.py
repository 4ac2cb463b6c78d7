"""The command line, one file a command: parse the options, call `seqgen`, print.

Installs as `seqgen.cli` and may import every folder; nothing imports it. Start with `main`. Commands import
torch only when they run. `common` has the options that several commands share, `streams` standard output and
error, `image` the commands of `seqgen image`.
"""
