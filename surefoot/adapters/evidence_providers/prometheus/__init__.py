"""Count requests, failures and latencies of both versions from counters in Prometheus."""
