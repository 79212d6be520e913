"""The only room with SQL: tables, migrations, the embedded PostgreSQL's supervisor, the vault."""
