"""The console commands."""

import os

# Threads that wait for each other sleep instead of spinning. Where other processes want the cores
# too (loader workers, a second run), spinning makes a training step several times slower. It has to
# be said before torch loads its thread library, which importing any command does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
