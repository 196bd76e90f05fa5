"""A bench: every case of a suite asked of every target, again and again, and what may be said of that."""
