"""Ask models once: requests in, replies out, and every reply in a store that is never asked twice.

What asks (`label`, and judges) makes questions and reads replies; how they come is decided here.
"""
