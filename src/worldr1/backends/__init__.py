"""Adapters to heavy or optional libraries; the only package that imports them, and only when they are used."""
