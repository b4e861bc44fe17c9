"""The hand layer: reading a MANO-shaped model file, posing it, and its joints' anatomy."""
