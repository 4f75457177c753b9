"""Have models answer incidents as a recipe asks: incidents in, dataset files out."""
