"""Helpers of the developers; nothing here runs in the service."""
