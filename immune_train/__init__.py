"""Fine-tune one small model on the dataset that `immune_data` emits."""
