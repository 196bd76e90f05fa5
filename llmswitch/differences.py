"""Differences between two samples of measurements, and how sure they are. Pure; scipy is the extra `bench`."""
