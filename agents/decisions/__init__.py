"""Decisions read from models' answers."""
