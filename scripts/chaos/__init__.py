"""`make chaos`: real processes on loopback under kills, freezes, partitions, full disks and wrong clocks, and an independent checker."""
