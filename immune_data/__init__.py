"""From judged LLM answers about network-security incidents to a fine-tuning dataset."""

__version__ = "0.1.0"
