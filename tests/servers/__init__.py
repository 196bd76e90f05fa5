"""Small servers on 127.0.0.1 that answer as told and keep what they were sent."""
