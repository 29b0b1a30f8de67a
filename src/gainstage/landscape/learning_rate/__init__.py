"""A safe and a recommended learning rate, measured on the model itself."""
