"""What tests share: stand-ins, databases, processes, the oracle."""
