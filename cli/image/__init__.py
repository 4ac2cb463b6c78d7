"""`seqgen image`: train image models, and every command about a trained one."""
