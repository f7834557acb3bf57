"""Counts and durations of what the server does, and how monitoring systems read them."""

from .fleet_metrics import FleetMetrics as FleetMetrics
