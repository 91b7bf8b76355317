"""Who runs trials and finalists, and what survives them: claims, leases, processes, the clock."""
