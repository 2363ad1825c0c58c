"""What codes and names of the outside world mean inside: laboratory tests, drugs, conditions, orders."""
