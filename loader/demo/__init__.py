"""The demo and its sample data, and a producer that sends statements as a platform would."""
