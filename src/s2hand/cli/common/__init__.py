"""What commands share: the frame of each, its configuration, its messages."""
