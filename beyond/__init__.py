"""Methods and measures that the paper does not have."""
