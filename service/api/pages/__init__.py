"""What a person reads in a browser: the start page, the knowledge, and the template on which every page stands."""
