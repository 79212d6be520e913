"""Certification: hostile scenarios run against a connector, and what freedom their results leave it."""
