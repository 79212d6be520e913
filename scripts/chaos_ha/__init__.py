"""Chaos with failovers: the programs of `scripts/chaos` on PostgreSQL under Patroni and etcd."""
