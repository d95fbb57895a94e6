"""What runs by itself: jobs, schedules, alerts, the purge of old event logs."""
