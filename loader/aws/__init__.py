"""AWS as far as the loader calls it itself: clients, the queue, the password's secret."""
