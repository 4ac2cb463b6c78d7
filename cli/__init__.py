"""The command line, one file a command: parse the options, call `seqgen`, print.

Installs as `seqgen.cli` and may import every folder; nothing imports it. Start with `main`. Commands import
torch only when they run. `common` has the options that several commands share, `examples` the commands at the
end of every help, `streams` standard output and error, `terminal` its width, `processes` what is said where
`torchrun` has started several, `progress` and `learning_curve` what a training shows, `image` the commands of
`seqgen image`.
"""
