"""Tests; `make quick`, `make test` and the long ones: see the Makefile."""
