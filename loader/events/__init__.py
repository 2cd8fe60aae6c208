"""Events: parse them, load the objects they name, report which messages to deliver again."""
