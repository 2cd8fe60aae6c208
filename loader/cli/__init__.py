"""The command line, one module per group of commands; nothing else imports it."""
