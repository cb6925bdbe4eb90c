"""The signed offline bundle: build, verify, repair, install, update, roll back; and backups."""
