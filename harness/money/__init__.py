"""What calls cost: prices, hardware, and other views of the same bill."""
