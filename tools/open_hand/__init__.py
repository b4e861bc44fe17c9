"""The steps that turn MakeHuman's CC0 body into a hand of MANO's shapes, order and conventions."""
