"""The demo and its sample data, and a producer that sends statements like a learning platform."""
