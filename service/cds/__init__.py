"""The protocol: CDS Hooks words. No Flask, no medicine."""
