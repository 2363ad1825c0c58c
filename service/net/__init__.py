"""What leaves the building: which addresses may be asked, and how keys are fetched from them."""
