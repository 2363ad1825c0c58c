"""Who calls: bearer tokens, and the public keys that prove them."""
