"""AWS services that the loader calls itself: clients, the queue, the password's secret."""
