"""The hand layer: reading a MANO-shaped model file, posing it, and the anatomy of its joints."""
